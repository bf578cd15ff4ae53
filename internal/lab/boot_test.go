package lab_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Limit)
	t.Cleanup(cancel)
	return ctx
}

// TestBoot runs one command and looks at all that Run promises about it.
func TestBoot(t *testing.T) {
	t.Parallel()
	l := labtest.Open(t)
	out := t.TempDir()
	script := `
		echo hello
		printf '<%s>' "$@"; echo
		printf '%s|%s|%s\n' "$ODD" "$PWD" "$(pwd)"
		ls -d /sys/kernel/iommu_groups/*/devices/*
		test -c /dev/vfio/vfio && test -w /tmp && touch /tmp/x /etc/y && mount | grep -c ' /run type tmpfs'
		head -c 100000 /dev/urandom | tee ` + lab.OutDir + `/random | sha256sum
		cat ` + lab.OutDir + `/random
		exit 7`
	odd := []string{"", "a b", `'"$HOME\`, "line\nbreak", "\xff\x80\x81ü", "-n", "*"}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, console bytes.Buffer
	status, err := l.Run(limited(t), lab.Machine{
		Args:    append([]string{"/bin/sh", "-c", script, "sh"}, odd...),
		Env:     []string{"ODD=" + odd[2]},
		Dir:     dir,
		Out:     out,
		Stdout:  &stdout,
		Console: &console,
	})
	if err != nil || status != 7 {
		t.Fatalf("status %d, error %v, wanted 7\n%.4000q\n%s", status, err, stdout.String(), console.String())
	}
	random, err := os.ReadFile(filepath.Join(out, "random"))
	if err != nil || len(random) != 100000 {
		t.Fatalf("%d bytes in Out, %v", len(random), err)
	}
	text, ok := bytes.CutSuffix(stdout.Bytes(), random)
	if !ok {
		t.Error("100,000 random bytes did not come through the serial line as they were")
	}
	sum := sha256.Sum256(random)
	for _, want := range []string{
		"hello\n<" + strings.Join(odd, "><") + ">\n",
		odd[2] + "|" + dir + "|" + dir + "\n",
		"\n1\n" + hex.EncodeToString(sum[:]),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the output lacks %q:\n%q", want, text)
		}
	}
	groups := make(map[string][]string)
	for _, m := range regexp.MustCompile(`iommu_groups/(\d+)/devices/(\S+)`).FindAllStringSubmatch(string(text), -1) {
		groups[m[1]] = append(groups[m[1]], m[2])
	}
	for _, want := range [][]string{
		{"0000:01:00.0"}, {"0000:02:00.0"}, {"0000:05:00.0"},
		{"0000:03:00.0", "0000:04:01.0", "0000:04:02.0"},
		{"0000:00:10.0"}, {"0000:00:14.0"}, {"0000:00:1b.0"},
		{"0000:00:1f.0", "0000:00:1f.2", "0000:00:1f.3"},
	} {
		found := false
		for _, g := range groups {
			found = found || slices.Equal(g, want)
		}
		if !found {
			t.Errorf("no IOMMU group holds exactly %v; there are %v", want, groups)
		}
	}
	if _, err := os.Stat("/etc/y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was written inside reached this machine: %v", err)
	}
}

// TestBootNoIOMMU boots beside the others and ends by a signal.
func TestBootNoIOMMU(t *testing.T) {
	t.Parallel()
	l := labtest.Open(t)
	image := filepath.Join(t.TempDir(), "a,b.img")
	if err := lab.NVMeImage(image, "from the image"); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	status, err := l.Run(limited(t), lab.Machine{
		Args:     []string{"/bin/sh", "-c", `ls /sys/kernel/iommu_groups | wc -l; head -c 40 /dev/nvme0n1 | tail -c 22; kill -TERM $$`},
		Topology: lab.NoIOMMU,
		Memory:   "2G",
		NVMe:     image,
		Stdout:   &stdout,
	})
	if err != nil || status != 128+15 {
		t.Errorf("status %d, error %v, wanted 143", status, err)
	}
	if got := stdout.String(); !strings.HasPrefix(got, "0\nfrom the image\r\n") {
		t.Errorf("the output is %q", got)
	}
}

// TestBootPanic: a machine that dies has no status, whatever its command printed.
func TestBootPanic(t *testing.T) {
	t.Parallel()
	l := labtest.Open(t)
	status, err := l.Run(limited(t), lab.Machine{
		Args: []string{"/bin/sh", "-c", `echo status 0; echo status 0 >/dev/console; echo c >/proc/sysrq-trigger`},
	})
	if err == nil || status != -1 || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("status %d, error %v, wanted an error that quotes the panic", status, err)
	}
}

// TestBootNoDirectory: what cannot be run is an error, not a status.
func TestBootNoDirectory(t *testing.T) {
	t.Parallel()
	l := labtest.Open(t)
	status, err := l.Run(limited(t), lab.Machine{Args: []string{"/bin/true"}, Dir: "/no such directory"})
	if err == nil || status != -1 || !strings.Contains(err.Error(), "no working directory /no such directory") {
		t.Errorf("status %d, error %v", status, err)
	}
}

// TestBootDeadline ends machines before and while they boot, and looks for what they
// may leave behind: processes, files, descriptors.
func TestBootDeadline(t *testing.T) {
	l := labtest.Open(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	if _, err := l.Run(expired(t, 0), lab.Machine{Args: []string{"/bin/true"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v with no time at all", err)
	}
	name := "deadline-" + filepath.Base(tmp) + "-" + filepath.Base(filepath.Dir(tmp))
	descriptors := countDescriptors(t)
	begun := time.Now()
	status, err := l.Run(expired(t, 2*time.Second), lab.Machine{
		Args: []string{"/bin/sleep", "1000"}, Extra: []string{"-name", name},
	})
	if status != -1 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("status %d, error %v, wanted deadline exceeded", status, err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v to end", took)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if b, err := os.ReadFile(line); err == nil && bytes.Contains(b, []byte(name)) {
			t.Errorf("%s is still there: %q", line, b)
		}
	}
	if after := countDescriptors(t); after != descriptors {
		t.Errorf("%d open files, there were %d", after, descriptors)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}

func expired(t *testing.T, after time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	t.Cleanup(cancel)
	return ctx
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestSelfTest proves the whole cycle with the command itself.
func TestSelfTest(t *testing.T) {
	t.Parallel()
	l := labtest.Open(t)
	indy := labtest.BuildIndy(t)
	var out bytes.Buffer
	err := lab.SelfTest(limited(t), l, indy, &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
}
