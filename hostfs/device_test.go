package hostfs

import (
	"errors"
	"io/fs"
	"testing"
)

func TestOpenDevice(t *testing.T) {
	f, err := Live().OpenDevice("dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := f.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]error{"proc/version": fs.ErrPermission, "dev/no-such": fs.ErrNotExist, "/dev/null": fs.ErrInvalid, "tmp": nil} {
		if _, err := Live().OpenDevice(name); err == nil || want != nil && !errors.Is(err, want) && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
