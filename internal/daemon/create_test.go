package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCreateDisk: a new guest gets one disk made, in its own folder and where none was, or
// there is no guest.
func TestCreateDisk(t *testing.T) {
	const guest = "name: new\nmemory: 1GiB\ndisks: [{file: %s}]\n"
	tests := []struct {
		name, text string
		size       int64
		fails      error
		code       int
		want       string
	}{
		{"made", fmt.Sprintf(guest, "system.qcow2"), 1 << 20, nil, 201, ""},
		{"none asked for", fmt.Sprintf(guest, "system.qcow2"), 0, nil, 201, ""},
		{"elsewhere", fmt.Sprintf(guest, "/etc/x.qcow2"), 1 << 20, nil, 403, "in none of these"},
		{"above", fmt.Sprintf(guest, "../x.qcow2"), 1 << 20, nil, 403, "has .. in it"},
		{"below", fmt.Sprintf(guest, "sub/x.qcow2"), 1 << 20, nil, 422, "in the guest's folder"},
		{"raw", fmt.Sprintf(guest, "system.raw"), 1 << 20, nil, 422, "qcow2"},
		{"no disk", "name: new\nmemory: 1GiB\n", 1 << 20, nil, 422, "qcow2"},
		{"half a sector", fmt.Sprintf(guest, "system.qcow2"), 100, nil, 422, "multiple"},
		{"below nothing", fmt.Sprintf(guest, "system.qcow2"), -512, nil, 422, ""},
		{"a planet", fmt.Sprintf(guest, "system.qcow2"), 1 << 60, nil, 422, ""},
		{"not made", fmt.Sprintf(guest, "system.qcow2"), 1 << 20, errors.New("no space"), 500, "no space"},
		{"there already", fmt.Sprintf(guest, "old.qcow2"), 1 << 20, nil, 409, "old.qcow2"},
		{"locked", fmt.Sprintf(guest, "system.qcow2") + "locked: true\n", 1 << 20, nil, 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			old := filepath.Join(f.Store.Folder("new"), "old.qcow2")
			if err := errors.Join(os.Mkdir(filepath.Dir(old), 0o700), os.WriteFile(old, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			var made []string
			f.MakeDisk = func(_ context.Context, file string, size int64, _ []byte) error {
				made = append(made, fmt.Sprint(filepath.Base(file), " ", size))
				return tt.fails
			}
			body := fmt.Sprintf(`{"definition":%q,"disk_size":%d}`, tt.text, tt.size)
			a := f.ask(t, Operator, http.MethodPost, "/v1/guests", body)
			if a.Code != tt.code || !strings.Contains(a.Body.String(), tt.want) {
				t.Errorf("%d, want %d %q: %s", a.Code, tt.code, tt.want, a.Body)
			}
			_, there := f.definitions(t)["new"]
			if there != (tt.code == 201) {
				t.Errorf("the guest is there: %t", there)
			}
			if want := tt.size > 0 && (tt.code == 201 || tt.fails != nil); (len(made) == 1) != want {
				t.Errorf("made %q", made)
			}
			if _, err := os.Stat(old); err != nil {
				t.Errorf("what was there: %v", err)
			}
		})
	}
}
