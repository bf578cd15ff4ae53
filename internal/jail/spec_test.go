package jail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// good is a Spec with everything in it.
func good() Spec {
	return Spec{
		Program: "/usr/bin/qemu", Args: []string{"-name", "a,b\n"}, Env: []string{"DISPLAY=:0"},
		UID: 0x70000001, GID: 0x70000002, Files: 3, Proc: true, OOMScoreAdj: 200, OpenFiles: 4096,
		Binds: []Bind{
			{From: "/usr/bin/qemu"}, {From: "/usr/lib/x86_64-linux-gnu"}, {From: "/dev/null", Device: true},
			{From: "/usr/share/qemu", To: "/firmware"},
		},
		Links: []Link{{"/lib", "usr/lib"}, {"/lib64", "usr/lib64"}},
	}
}

func TestParse(t *testing.T) {
	data, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(good(), got); diff != "" {
		t.Error(diff)
	}
}

// TestHostile gives what nobody who means well writes.
func TestHostile(t *testing.T) {
	long := strings.Repeat("x", maxPath)
	tests := []struct {
		name string
		make func(*Spec)
		want string
	}{
		{"no program", func(s *Spec) { s.Program = "" }, "program: no path"},
		{"relative program", func(s *Spec) { s.Program = "bin/qemu" }, "is relative"},
		{"program with ..", func(s *Spec) { s.Program = "/usr/../etc/passwd" }, "not clean"},
		{"program that ends in a slash", func(s *Spec) { s.Program = "/usr/bin/" }, "not clean"},
		{"zero byte in the program", func(s *Spec) { s.Program = "/usr/bin\x00/qemu" }, "control characters"},
		{"the root as program", func(s *Spec) { s.Program = "/" }, "the path is the root"},
		{"relative source", func(s *Spec) { s.Binds[0].From = "etc" }, "is relative"},
		{"source with ..", func(s *Spec) { s.Binds[0].From = "/usr/bin/../../etc/shadow" }, "not clean"},
		{"the host's root", func(s *Spec) { s.Binds[0].From = "/" }, "the path is the root"},
		{"the host's root by //", func(s *Spec) { s.Binds[0].From = "//" }, "not clean"},
		{"proc", func(s *Spec) { s.Binds[0].From = "/proc" }, "another process's"},
		{"another's root", func(s *Spec) { s.Binds[0].From = "/proc/1/root" }, "another process's"},
		{"over the root", func(s *Spec) { s.Binds[0].To = "/" }, "the path is the root"},
		{"target with ..", func(s *Spec) { s.Binds[0].To = "/a/../.." }, "not clean"},
		{"relative target", func(s *Spec) { s.Binds[0].To = "../a" }, "is relative"},
		{"long path", func(s *Spec) { s.Binds[0].From = "/" + long }, "more than 4095 bytes"},
		{"escape code in a path", func(s *Spec) { s.Binds[0].From = "/\x1b[2J" }, "control characters"},
		{"twice", func(s *Spec) { s.Binds[0].To = "/usr/lib/x86_64-linux-gnu" }, "there twice"},
		{"one in another", func(s *Spec) { s.Binds[0].To = "/usr/lib/x86_64-linux-gnu/evil/libc.so" }, "is inside of"},
		{"over proc", func(s *Spec) { s.Binds[0].To = "/proc" }, "there twice"},
		{"into proc", func(s *Spec) { s.Binds[0].To = "/proc/self" }, "is inside of"},
		{"below a link", func(s *Spec) { s.Binds[0].To = "/lib/x" }, "is inside of"},
		{"relative link", func(s *Spec) { s.Links[0].Name = "lib" }, "is relative"},
		{"link to nothing", func(s *Spec) { s.Links[0].Target = "" }, "to nothing"},
		{"link with a line break", func(s *Spec) { s.Links[0].Target = "a\nb" }, "to nothing"},
		{"link with a long target", func(s *Spec) { s.Links[0].Target = long + "x" }, "to nothing"},
		{"link inside of a bind", func(s *Spec) { s.Links[0].Name = "/usr/share/../x" }, "not clean"},
		{"root's user", func(s *Spec) { s.UID = 0 }, "user or group is root"},
		{"root's group", func(s *Spec) { s.GID = 0 }, "user or group is root"},
		{"user -1", func(s *Spec) { s.UID = 1<<32 - 1 }, "-1"},
		{"group -1", func(s *Spec) { s.GID = 1<<32 - 1 }, "-1"},
		{"fewer than no files", func(s *Spec) { s.Files = -1 }, "-1 files"},
		{"many files", func(s *Spec) { s.Files = 1 << 30 }, "files, expected"},
		{"protected from the kernel", func(s *Spec) { s.OOMScoreAdj = -1000 }, "OOM score"},
		{"many arguments", func(s *Spec) { s.Args = make([]string, maxArgs+1) }, "more than 4096 arguments"},
		{"long argument", func(s *Spec) { s.Args = []string{strings.Repeat("x", maxText)} }, "too long"},
		{"zero byte in an argument", func(s *Spec) { s.Args = []string{"a\x00b"} }, "zero byte"},
		{"variable without a name", func(s *Spec) { s.Env = []string{"=x"} }, "no name"},
		{"no variable", func(s *Spec) { s.Env = []string{"x"} }, "no name"},
		{"many binds", func(s *Spec) { s.Binds = make([]Bind, maxBinds+1) }, "binds"},
		{"many links", func(s *Spec) { s.Links = make([]Link, maxLinks+1) }, "links"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := good()
			tt.make(&s)
			data, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Parse(data); err == nil || !strings.Contains(err.Error(), tt.want) || !cmp.Equal(got, Spec{}) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestHostileText(t *testing.T) {
	data, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, text, want string }{
		{"nothing", "", "EOF"},
		{"no object", "[]", "cannot unmarshal"},
		{"an unknown field", `{"program":"/a","privileged":true}`, "unknown field"},
		{"an unknown field of a bind", `{"program":"/a","binds":[{"from":"/b","write":true}]}`, "unknown field"},
		{"something behind it", string(data) + "{}", "more behind it"},
		{"half of it", string(data[:len(data)/2]), "unexpected EOF"},
		{"no UTF-8", "{\"program\":\"/a\xff\"}", "no UTF-8"},
		{"a float", `{"program":"/a","uid":1.5,"gid":1}`, "cannot unmarshal"},
		{"a negative user", `{"program":"/a","uid":-1,"gid":1}`, "cannot unmarshal"},
		{"a large user", `{"program":"/a","uid":4294967296,"gid":1}`, "cannot unmarshal"},
		{"huge", `{"program":"/` + strings.Repeat("a", maxSpec) + `"}`, "more than 1048576 bytes"},
		{"deep", `{"args":` + strings.Repeat("[", 100000), "exceeded max depth"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%.200v, want %q", err, tt.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"in force", `{}`, "<nil> map[]"},
		{"in part", `{"kept":{"groups":"why"}}`, "<nil> map[groups:why]"},
		{"failed", `{"error":{"text":"mount: no","errno":1}}`, "mount: no map[]"},
		{"failed at the end", `{"kept":{"a":"b"}}{"error":{"text":"execute: no"}}`, "execute: no map[a:b]"},
		{"nothing", "", "the jail stage ended without a word map[]"},
		{"half", `{"kept"`, "the jail stage says what is no report: unexpected EOF map[]"},
		{"endless", strings.Repeat(" ", 2*maxReport) + "{}", "the jail stage ended without a word map[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ReadReport(strings.NewReader(tt.text))
			if got := fmt.Sprint(err, " ", r.Kept); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	data, err := json.Marshal(good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"program":"/a"}`))
	f.Add([]byte(`{"program":"/a/..","binds":[{"from":"/proc/1/root","to":"/"}]}`))
	f.Add([]byte(`{"program":"/a","uid":0,"gid":1,"links":[{"name":"/a/b","target":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Errorf("parsed and not valid: %v", err)
		}
		for _, b := range s.Binds {
			if strings.Contains(b.From+"/", "/../") || strings.Contains(b.to()+"/", "/../") || b.From[0] != '/' || b.to() == "/" {
				t.Errorf("%+v", b)
			}
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(again); err != nil || !equal(s, back) {
			t.Errorf("%v\n%s\n%s", err, data, again)
		}
	})
}

// equal compares as JSON, in which nothing and empty are the same.
func equal(a, b Spec) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
