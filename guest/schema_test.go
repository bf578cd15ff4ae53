package guest

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../docs/guest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asOthers reads YAML as editors do that know the schema.
func asOthers(text []byte) (v any, err error) {
	return v, yaml.Unmarshal(text, &v)
}

func TestSchemaTakesWhatIsRead(t *testing.T) {
	s := schema(t)
	v, err := asOthers([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Error(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := definitions().Draw(t, "definition").YAML()
		v, err := asOthers(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

// TestSchemaRefuses counts the bad definitions that the schema refuses, too: all that have a field
// which is not known, and no fewer than it does today of the others, which may say more than a schema can.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t)
	refused, all := 0, badDefinitions(t)
	for _, bad := range all {
		v, err := asOthers([]byte(bad.text))
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			refused++
		} else if slices.ContainsFunc(bad.want, func(w string) bool { return strings.Contains(w, "there is no such field") }) {
			t.Errorf("the schema takes: %s\n%s", bad.title, bad.text)
		}
	}
	if refused < 380 {
		t.Errorf("the schema refuses %d of %d", refused, len(all))
	}
	t.Logf("the schema refuses %d of %d bad definitions", refused, len(all))
}

// TestSchemaFields asks the parser which fields there are, by fields that are not.
func TestSchemaFields(t *testing.T) {
	data, err := os.ReadFile("../docs/guest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	in := func(path ...string) []string {
		at := doc
		for _, p := range path {
			at = at["properties"].(map[string]any)[p].(map[string]any)
			if items, ok := at["items"].(map[string]any); ok {
				at = items
			}
		}
		return slices.Sorted(maps.Keys(at["properties"].(map[string]any)))
	}
	words := regexp.MustCompile(`expected (.*)\n`)
	for text, path := range map[string][]string{
		"zz: 1":                        nil,
		"autostart: {zz: 1}":           {"autostart"},
		"autostart: {ready: {zz: 1}}":  {"autostart", "ready"},
		"power: {zz: 1}":               {"power"},
		"power: {low_battery: {z: 1}}": {"power", "low_battery"},
		"disks: [{zz: 1}]":             {"disks"},
		"display: {zz: 1}":             {"display"},
		"audio: {zz: 1}":               {"audio"},
		"folders: [{zz: 1}]":           {"folders"},
		"devices: [{zz: 1}]":           {"devices"},
		"devices: [{rom: {zz: 1}}]":    {"devices", "rom"},
	} {
		_, err := ParseDefinition("a.yaml", []byte(text))
		m := words.FindStringSubmatch(err.Error())
		if m == nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := slices.Sorted(slices.Values(strings.Split(strings.Replace(m[1], " or ", ", ", 1), ", ")))
		if want := in(path...); !slices.Equal(got, want) {
			t.Errorf("%s: the parser knows %v, the schema %v", text, got, want)
		}
	}
}
