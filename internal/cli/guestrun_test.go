package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
	"github.com/project-independence/indy/laptop"
)

func TestTypeUntil(t *testing.T) {
	for in, want := range map[string]struct {
		text  string
		ended bool
	}{
		"":               {"", false},
		"ls\r":           {"ls\r", false},
		"\x03\x1b[A":     {"\x03\x1b[A", false},
		"ls\x1d":         {"ls", true},
		"\x1dnever this": {"", true},
	} {
		var out bytes.Buffer
		ended, err := typeUntil(&out, strings.NewReader(in), hangUp)
		if err != nil || ended != want.ended || out.String() != want.text {
			t.Errorf("%q: %q, %v, %v", in, out.String(), ended, err)
		}
	}
	if _, err := typeUntil(failing{}, strings.NewReader("x"), hangUp); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestRunDir(t *testing.T) {
	for _, test := range []struct {
		uid       int
		dir, want string
	}{
		{0, "/run/user/0", "/run/indy/guests"},
		{1000, "/run/user/1000", "/run/user/1000/indy/guests"},
		{1000, "", ""},
		{1000, "relative", ""},
	} {
		if got := runDir(test.uid, func(string) string { return test.dir }); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// What a host cannot do is said with figures, and before anything is touched.
func TestStartable(t *testing.T) {
	host := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:        8000000 kB\nMemFree: 1 kB\n")}}
	for _, test := range []struct {
		d    guest.Definition
		want string
	}{
		{guest.Definition{Name: "a", Memory: 7 << 30}, ""},
		{guest.Definition{Name: "a", Memory: 8 << 30}, "guest a has 8GiB of memory, more than the 7812MiB of this host"},
	} {
		err := startable(host, test.d)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || exitCode(err) != exitUnsupported) {
			t.Errorf("%+v: %v", test.d, err)
		}
	}
	if err := startable(fstest.MapFS{}, guest.Definition{Memory: 1 << 40}); err != nil {
		t.Errorf("of a host that does not say: %v", err)
	}
}

// The way from an error in a runner to that of the command which started it keeps status and
// findings.
func TestGuestFailure(t *testing.T) {
	missing := &laptop.NeedsError{Needs: []laptop.ResolvedNeed{{State: laptop.NeedMissing}}}
	ambiguous := &laptop.NeedsError{Needs: []laptop.ResolvedNeed{{State: laptop.NeedAmbiguous}}}
	refused := &assign.RefusedError{Findings: []laptop.Finding{{Code: laptop.HostDisk, Detail: "it is mounted"}}}
	for _, test := range []struct {
		err      error
		exit     int
		findings int
	}{
		{errors.New("x"), exitFailed, 0},
		{unmet(missing), exitUnsupported, 0},
		{unmet(ambiguous), exitRefused, 0},
		{refused, exitRefused, 1},
		{&assign.PartialError{Left: []error{errors.New("stuck")}}, exitPartial, 0},
	} {
		f := explainFailure(test.err)
		got := newGuestFailure(runner.Status{Name: "work", Failure: &f})
		if exitCode(got) != test.exit || len(got.findings) != test.findings || !strings.HasPrefix(got.Error(), "guest work failed: "+test.err.Error()) {
			t.Errorf("%v: exit %d, %d findings, %v", test.err, exitCode(got), len(got.findings), got)
		}
	}
	said := newGuestFailure(runner.Status{Name: "work", Failure: &runner.Failure{Message: "QEMU ended: a", LastWords: "a\nb\n"}}).Error()
	if said != "guest work failed: QEMU ended: a\nb" {
		t.Errorf("%q", said)
	}
	if got := exitCode(newGuestFailure(runner.Status{})); got != exitFailed {
		t.Errorf("exit %d", got)
	}
}

func TestReplaceFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "picture.png")
	write := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, werr := io.WriteString(w, text)
			return errors.Join(werr, err)
		}
	}
	if err := replaceFile(name, write("one", nil)); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(name, write("two", errors.New("torn"))); err == nil {
		t.Error("no error")
	}
	all, err := os.ReadDir(filepath.Dir(name))
	if text, rerr := os.ReadFile(name); string(text) != "one" || errors.Join(err, rerr) != nil || len(all) != 1 {
		t.Errorf("%q, %v, %v", text, all, errors.Join(err, rerr))
	}
}

func TestPlainWriter(t *testing.T) {
	var out bytes.Buffer
	text := "a\tb\x1b[2Jc\u202ed\r\n"
	if n, err := (plainWriter{&out}).Write([]byte(text)); n != len(text) || err != nil || out.String() != "a\tb\ufffd[2Jc\ufffdd\n" {
		t.Errorf("%q, %d, %v", out.String(), n, err)
	}
}
