package cli_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// look runs a reading command on a saved machine with these lists of names.
func look(t *testing.T, names fstest.MapFS, args ...string) (stdout string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	env := cli.Env{Host: hostfs.Live(), Names: names, Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	code = cli.Main(args, &env)
	if errs.Len() > 0 {
		t.Errorf("indy %q: exit %d, %s", args, code, &errs)
	}
	return out.String(), code
}

// TestFault41Names: without the lists of names, and with lists that are cut off or are no
// lists, a device is named by its numbers, and all else is as with them: handing over does
// not depend on names.
func TestFault41Names(t *testing.T) {
	root := hosttest.Root(t)
	from := filepath.Join(root, "testdata", "hosts", "lab-intel.txtar")
	good, err := os.ReadFile(filepath.Join(root, "testdata", "ids", "usr", "share", "misc", "pci.ids"))
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 64<<10)
	random := rand.New(rand.NewPCG(41, 41))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	lists := func(text []byte) fstest.MapFS {
		all := fstest.MapFS{}
		for _, dir := range []string{"usr/share/misc", "usr/share/hwdata"} {
			for _, name := range []string{"pci.ids", "usb.ids"} {
				all[path.Join(dir, name)] = &fstest.MapFile{Data: text}
			}
		}
		return all
	}
	plan, code := look(t, lists(good), "plan", "0000:02:00.0", "--allow", "host-disk-unknown,boot-unknown,route-unknown", "--from", from)
	if code != 0 {
		t.Fatalf("plan: exit %d\n%s", code, plan)
	}
	for name, names := range map[string]fstest.MapFS{
		"missing": {}, "empty": lists(nil), "cut": lists(good[:len(good)/2]), "noise": lists(noise),
		"zeros": lists(make([]byte, 4096)), "one line": lists(bytes.Repeat([]byte("8086"), 64<<10)),
		"directory": {"usr/share/misc/pci.ids/x": &fstest.MapFile{}},
	} {
		t.Run(name, func(t *testing.T) {
			said, code := look(t, names, "devices", "--json", "--from", from)
			var list struct {
				Devices []struct {
					Address  string `json:"address"`
					VendorID string `json:"vendor_id"`
					Verdict  string `json:"verdict"`
				} `json:"devices"`
			}
			if err := json.Unmarshal([]byte(said), &list); err != nil || code != 0 {
				t.Fatalf("exit %d, %v", code, err)
			}
			found := false
			for _, d := range list.Devices {
				found = found || d.Address == "0000:02:00.0" && d.VendorID == "1b36" && d.Verdict != ""
			}
			if !found {
				t.Errorf("the NVMe is not listed as it is:\n%s", said)
			}
			if text, code := look(t, names, "devices", "--from", from); code != 0 || name != "cut" && !strings.Contains(text, "1b36:0010") {
				t.Errorf("exit %d, and no numbers for a name:\n%s", code, text)
			}
			got, code := look(t, names, "plan", "0000:02:00.0", "--allow", "host-disk-unknown,boot-unknown,route-unknown", "--from", from)
			if code != 0 || got != plan {
				t.Errorf("exit %d, another plan:\n%s", code, got)
			}
		})
	}
}

// TestFault42WideDomain: what is in a PCI domain of more than 16 bits is listed, named,
// and said to be what it is.
func TestFault42WideDomain(t *testing.T) {
	from := filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-vmd.txtar")
	said, code := look(t, nil, "devices", "--from", from)
	if code != 0 || !strings.Contains(said, "10000:01:00.0") {
		t.Errorf("exit %d\n%s", code, said)
	}
	said, code = look(t, nil, "why", "10000:01:00.0", "--from", from)
	if code != 0 || !strings.Contains(said, "10000:01:00.0") {
		t.Errorf("exit %d\n%s", code, said)
	}
	said, code = look(t, nil, "groups", "--json", "--from", from)
	if code != 0 || !strings.Contains(said, `"10000:01:00.0"`) {
		t.Errorf("exit %d\n%s", code, said)
	}
}
