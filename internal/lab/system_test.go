package lab

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

func TestRoot(t *testing.T) {
	for name, m := range map[string]Machine{
		"with a command":     {Root: []string{"/r"}, Args: []string{"/bin/true"}},
		"with an Out":        {Root: []string{"/r"}, Out: "/out"},
		"with a directory":   {Root: []string{"/r"}, Dir: "/"},
		"with a variable":    {Root: []string{"/r"}, Env: []string{"A=b"}},
		"relative":           {Root: []string{"/r", "r"}},
		"with a colon":       {Root: []string{"/a:b"}},
		"with a comma":       {Root: []string{"/a,b"}},
		"empty":              {Root: []string{""}},
		"unknown topology":   {Root: []string{"/r"}, Topology: 99},
		"kernel in two line": {Root: []string{"/r"}, Kernel: "a\nb"},
	} {
		if err := m.check(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	m := Machine{Root: []string{"/over it", "/below"}}
	if err := m.check(); err != nil {
		t.Fatal(err)
	}
	l := &Lab{modules: "/m"}
	var b bytes.Buffer
	if err := l.writeCommand(&b, &m); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := cpio.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(text)
	}
	if !strings.Contains(files["lab/settings"], "lab_root='/host/over it:/host/below'\n") {
		t.Errorf("settings:\n%s", files["lab/settings"])
	}
	if files["lab/system"] != string(systemScript) {
		t.Errorf("lab/system holds %q", files["lab/system"])
	}
}
