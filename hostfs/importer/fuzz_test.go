package importer_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// checkTree fails if a name of an imported tree is odd, a file is above or below
// another, a link leads out of the tree, or reading the machine panics.
func checkTree(t *testing.T, data []byte) {
	tree, format, err := importer.Parse(data)
	if tree == nil {
		if err == nil {
			t.Error("no tree and no error")
		}
		return
	}
	if format == importer.Unknown {
		t.Error("a tree of an unknown format")
	}
	err = fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !fs.ValidPath(name) || strings.ContainsAny(name, "\x00\n\r\x1b") {
			t.Errorf("%q: %v", name, err)
		}
		if name != "." && !strings.HasPrefix(name+"/", "sys/") && !strings.HasPrefix(name+"/", "dev/") {
			t.Errorf("%q is elsewhere", name)
		}
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := fs.ReadLink(tree, name)
			if to := path.Join(path.Dir(name), target); err != nil || !strings.HasPrefix(to, "sys/") {
				t.Errorf("%q leads to %q, %v", name, target, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := hostfs.FormatTxtar(tree, ""); err != nil {
		t.Errorf("cannot be saved: %v", err)
	}
	_, _ = laptop.Read(tree)
}

// seeds adds the small texts that hold one of the words, and the beginning of real
// reports.
func seeds(f *testing.F, small []string, shared ...string) {
	for _, s := range small {
		f.Add([]byte(s))
		f.Add([]byte(s[:len(s)/2]))
	}
	if len(shared) == 0 {
		return
	}
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(f, shared[:len(shared)-1]...), shared[len(shared)-1]))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 16<<10)])
	}
}

func FuzzFacter(f *testing.F) {
	seeds(f, []string{smallFacter, `{"hardware":{"a":[{"sysfs_id":"/class/net/x"}]}}`, `{"hardware":[],"smbios":{"system":[]}}`, `{"hardware":{"a":{},"b":[1]}}`})
	f.Fuzz(func(t *testing.T, data []byte) { checkTree(t, data) })
}

func FuzzLSPCI(f *testing.F) {
	seeds(f, []string{smallText, "00:02.0 0300: 8086:0001\n" + dump(256, 0x40)}, "hwdata", "lspci", "pciutils", "*")
	f.Fuzz(func(t *testing.T, data []byte) { checkTree(t, data) })
}

func FuzzRecords(f *testing.F) {
	seeds(f, []string{smallRecords})
	f.Fuzz(func(t *testing.T, data []byte) { checkTree(t, append([]byte("Slot:\t00:00.0\n"), data...)) })
}

func FuzzUdev(f *testing.F) {
	seeds(f, []string{smallUdev, "P: /devices/a\nE: SUBSYSTEM=x\n\nP: /devices/a/uevent/b\nE: DRIVER=d\nE: SUBSYSTEM=x\n", "P: /devices/a\nE: DRIVER=d\nE: SUBSYSTEM=x\n\nP: /devices/a/driver/b\nN: a\n\nP: /devices/a/subsystem\nN: a/b\n"},
		"hwdata", "udevadm", "checkbox", "*.txt")
	f.Fuzz(func(t *testing.T, data []byte) { checkTree(t, append([]byte("P: /devices/p\n"), data...)) })
}
