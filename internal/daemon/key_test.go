package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// TestStartKey: a passphrase goes to the runner of the guest, and is told to nobody.
func TestStartKey(t *testing.T) {
	const secret, coded = "a horse, a battery", "YSBob3JzZSwgYSBiYXR0ZXJ5"
	f := newFixture(t)
	var told bytes.Buffer
	f.Logger = slog.New(slog.NewJSONHandler(&told, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for body, want := range map[string]string{`{"key":"` + coded + `"}`: secret, `{}`: "", "": ""} {
		f.runners.keys = nil
		delete(f.runners.guests, "free")
		a := f.ask(t, User, http.MethodPost, "/v1/guests/free/start", body)
		if a.Code != 200 || len(f.runners.keys) != 1 || f.runners.keys[0] != want {
			t.Errorf("%s: %d, %q: %s", body, a.Code, f.runners.keys, a.Body)
		}
		for _, path := range []string{"status", "log", "events"} {
			if b := f.ask(t, Admin, http.MethodGet, "/v1/guests/free/"+path, ""); strings.Contains(b.Body.String(), secret) || strings.Contains(b.Body.String(), coded) {
				t.Errorf("the key is in %s", path)
			}
		}
		if !strings.Contains(told.String(), "free") || strings.Contains(a.Body.String(), coded) || strings.Contains(told.String(), coded) || strings.Contains(told.String(), secret) {
			t.Errorf("the key is in the answer or in the log: %s", told.String())
		}
	}
}

// TestCreateKey: a disk that is made has a key exactly when its definition says so.
func TestCreateKey(t *testing.T) {
	const guest = "name: new\nmemory: 1GiB\ndisks: [{file: system.qcow2%s}]\n"
	for _, tt := range []struct {
		name, key, body string
		code            int
		made            string
	}{
		{"with a key", ", key: passphrase", `,"key":"YSBrZXk="`, 201, "a key"},
		{"with none", ", key: passphrase", "", 422, ""},
		{"and not said", "", `,"key":"YSBrZXk="`, 422, ""},
		{"in a credential", ", key: credential:new.cred", "", 501, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, made := newFixture(t), ""
			f.MakeDisk = func(_ context.Context, _ string, _ int64, key []byte) error {
				made = string(key)
				return nil
			}
			a := f.ask(t, Operator, http.MethodPost, "/v1/guests", fmt.Sprintf(`{"definition":%q,"disk_size":1048576%s}`, fmt.Sprintf(guest, tt.key), tt.body))
			if _, there := f.definitions(t)["new"]; a.Code != tt.code || made != tt.made || there != (tt.code == 201) {
				t.Errorf("%d, made %q, there %t: %s", a.Code, made, there, a.Body)
			}
		})
	}
}
