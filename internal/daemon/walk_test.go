package daemon

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
)

// ask asks a daemon as somebody with a role.
func (f fixture) ask(t *testing.T, role Role, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	return f.answer(f.request(t, role, method, path, body))
}

func (f fixture) request(t *testing.T, role Role, method, path, body string) *http.Request {
	t.Helper()
	q := httptest.NewRequestWithContext(withCaller(t.Context(), Caller{Peer: Peer{UID: 1000}, Role: role}), method, path, strings.NewReader(body))
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	return q
}

func (f fixture) answer(q *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.handler().ServeHTTP(w, q)
	return w
}

// body is what is sent with a verb about a guest, which has the definition text.
func body(v Verb, guest string, locked bool, text string) string {
	def := "name: " + guest + "\nmemory: 2GiB\n"
	if locked {
		def += "locked: true\n"
	}
	var in any
	switch v {
	case GuestsCreate:
		in = map[string]string{"definition": strings.Replace(def, "name: ", "name: new-", 1)}
	case GuestsEdit:
		in = map[string]string{"before": text, "definition": def}
	default:
		return ""
	}
	b, _ := json.Marshal(in)
	return string(b)
}

// documented reads from docs/roles.md who may do what.
func documented(t *testing.T) map[Verb]map[Role]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(hosttest.Root(t), "docs", "roles.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[Verb]map[Role]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|[^|]*\\| ([a-z ]+) \\| ([a-z ]+) \\| ([a-z ]+) \\|$").FindAllStringSubmatch(string(text), -1) {
		all[Verb(m[1])] = map[Role]string{Nobody: "no", User: m[2], Operator: m[3], Admin: m[4]}
	}
	return all
}

// TestEveryVerb walks every operation of the API, in each role, with a locked guest and
// with a free one. What the document says is what happens, and who is refused changes nothing.
func TestEveryVerb(t *testing.T) {
	t.Parallel()
	want := documented(t)
	walked := map[Verb]bool{}
	n := 0
	for path, item := range newFixture(t).api.OpenAPI().Paths {
		for _, op := range []struct {
			method string
			id     string
		}{
			{"GET", idOf(item.Get)}, {"POST", idOf(item.Post)}, {"PUT", idOf(item.Put)}, {"DELETE", idOf(item.Delete)},
			{"PATCH", idOf(item.Patch)}, {"HEAD", idOf(item.Head)}, {"OPTIONS", idOf(item.Options)}, {"TRACE", idOf(item.Trace)},
		} {
			if op.id == "" {
				continue
			}
			v := Verb(op.id)
			if want[v] == nil {
				t.Errorf("%s %s (%s) has no row in docs/roles.md", op.method, path, v)
				continue
			}
			if walked[v] {
				t.Errorf("%s is there twice", v)
			}
			walked[v] = true
			for _, role := range roles() {
				for _, locked := range []bool{false, true} {
					n++
					tryVerb(t, v, op.method, path, role, locked, want[v][role])
				}
			}
		}
	}
	for _, rule := range Verbs() {
		if !walked[rule.Verb] {
			t.Errorf("%s has a row, and no operation", rule.Verb)
		}
	}
	if len(want) != len(Verbs()) || n != len(Verbs())*len(roles())*2 {
		t.Errorf("%d rows in the document, %d requests for %d verbs", len(want), n, len(Verbs()))
	}
}

func idOf(op *huma.Operation) string {
	if op == nil {
		return ""
	}
	return op.OperationID
}

func tryVerb(t *testing.T, v Verb, method, path string, role Role, locked bool, documented string) {
	t.Helper()
	f := newFixture(t)
	name := map[bool]string{false: "free", true: "secret"}[locked]
	if v != GuestsStart && v != GuestsDelete {
		f.run(t, name)
	}
	before := f.definitions(t)
	a := f.ask(t, role, method, strings.ReplaceAll(path, "{name}", name), body(v, name, locked, before[name]))
	may := documented == "yes" || documented == "free guests" && !locked || documented == "locked guests" && locked
	switch {
	case may && a.Code >= 300:
		t.Errorf("%s, %s, locked %t: %d, want it done: %s", v, role, locked, a.Code, a.Body)
	case !may && a.Code != http.StatusForbidden:
		t.Errorf("%s, %s, locked %t: %d, want it refused", v, role, locked, a.Code)
	case !may:
		if said := f.runners.asked(); len(said) > 0 {
			t.Errorf("%s, %s, locked %t: refused, and %q", v, role, locked, said)
		}
		if diff := cmp.Diff(before, f.definitions(t)); diff != "" {
			t.Errorf("%s, %s, locked %t: refused, and (-before +after):\n%s", v, role, locked, diff)
		}
	}
}

// definitions are the texts of all guests by their names.
func (f fixture) definitions(t *testing.T) map[string]string {
	t.Helper()
	all, err := f.Store.List()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, e := range all {
		texts[e.Name] = string(e.Text)
	}
	return texts
}

// TestNoOtherPath holds that nothing is served but the verbs.
func TestNoOtherPath(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/docs", "/openapi", "/openapi.json", "/openapi.yaml", "/schemas", "/schemas/GuestList.json", "/v1", "/v1/guests/../leases/x", "/debug/pprof/"} {
		if a := f.ask(t, Admin, "GET", path, ""); a.Code != http.StatusNotFound && a.Code != http.StatusTemporaryRedirect && a.Code != http.StatusMovedPermanently {
			t.Errorf("%s: %d", path, a.Code)
		}
	}
}

// TestOpenAPIDocument holds that docs/openapi.json is what the daemon says of itself, and
// loads nothing from elsewhere.
func TestOpenAPIDocument(t *testing.T) {
	d := New(Config{Version: "1", Runners: newFakeRunners(t), Host: fakeHost{}})
	text, err := d.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(hosttest.Root(t), "docs", "openapi.json")
	if os.Getenv("INDY_WRITE_OPENAPI") != "" {
		if err := os.WriteFile(name, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(held), string(text)+"\n"); diff != "" {
		t.Errorf("docs/openapi.json is not what the daemon says; INDY_WRITE_OPENAPI=1 writes it (-document +daemon):\n%.3000s", diff)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ OperationID, Summary string }
	}
	if err := json.Unmarshal(text, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("%s, %v", doc.OpenAPI, err)
	}
	var ids []string
	for path, item := range doc.Paths {
		for method, op := range item {
			ids = append(ids, op.OperationID)
			if op.Summary == "" {
				t.Errorf("%s %s says nothing", method, path)
			}
		}
	}
	slices.Sort(ids)
	if len(ids) != len(Verbs()) || len(slices.Compact(ids)) != len(Verbs()) {
		t.Errorf("%d operations, want %d", len(ids), len(Verbs()))
	}
	if w := regexp.MustCompile(`https?://[a-z0-9.]+`).FindAllString(strings.ReplaceAll(string(text), "https://example.com/", ""), -1); len(w) > 0 {
		t.Errorf("the document names %q", w)
	}
}
