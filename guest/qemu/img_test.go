package qemu

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/project-independence/indy/guest/image"
	"github.com/project-independence/indy/internal/hosttest"
)

func needImg(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "qemu-img is not installed; install the package qemu-utils")
	}
}

func checked(t *testing.T, name string) image.Info {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := image.Check(bytes.NewReader(b), int64(len(b)), image.Qcow2)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestMakeDisk(t *testing.T) {
	needImg(t)
	name := filepath.Join(t.TempDir(), "disk,driver=raw.qcow2")
	if err := MakeDisk(t.Context(), name, 5<<30, nil); err != nil {
		t.Fatal(err)
	}
	if info := checked(t, name); info.Virtual != 5<<30 {
		t.Errorf("%+v", info)
	}
	st, err := os.Stat(name)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if f, err := os.OpenFile(name, os.O_RDWR, 0); err != nil {
		t.Errorf("not ours: %v", err)
	} else {
		f.Close()
	}
	if err := MakeDisk(t.Context(), name, 1<<30, nil); !errors.Is(err, fs.ErrExist) || checked(t, name).Virtual != 5<<30 {
		t.Errorf("over what is there: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other.qcow2")
	if err := MakeDisk(t.Context(), other, -1, nil); err == nil {
		t.Error("a disk of -1 bytes")
	}
	if _, err := os.Stat(other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left after a failure: %v", err)
	}
}

func TestConvertDisk(t *testing.T) {
	needImg(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "raw")
	content := append(bytes.Repeat([]byte("content "), 8192), make([]byte, 1<<20)...)
	if err := os.WriteFile(raw, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for format, name := range map[image.Format]string{image.VMDK: "vmdk", image.VHDX: "vhdx", image.VDI: "vdi", image.VHD: "vpc"} {
		from, to := filepath.Join(dir, "a."+name), filepath.Join(dir, name+".qcow2")
		if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", name, raw, from).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		f, err := os.Open(from)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := ConvertDisk(t.Context(), to, f, format, nil); err != nil {
			t.Error(err)
			continue
		}
		back := filepath.Join(dir, name+".raw")
		if out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", to, back).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, err := os.ReadFile(back); err != nil || !bytes.HasPrefix(got, content[:64<<10]) {
			t.Errorf("%s: the content is another: %v", name, err)
		}
	}
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bad := filepath.Join(dir, "bad.qcow2")
	if err := ConvertDisk(t.Context(), bad, f, image.VMDK, nil); err == nil {
		t.Error("a raw disk is converted as VMDK")
	}
	if _, err := os.Stat(bad); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left after a failure: %v", err)
	}
}
