package cli_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestEncryptedGuest has Linux guests write to encrypted disks by the real command, and read
// it again at the next start, and looks for the key and for what they wrote wherever others could see it.
func TestEncryptedGuest(t *testing.T) {
	if !apart(t, "qemu-img", "systemd-creds") {
		return
	}
	m := &machine{t: t, indy: hosttest.BuildIndy(t, t.TempDir()), env: os.Environ()}
	const passphrase, marker = "a horse, a battery", "the-word-on-the-disk"
	l := newLinux(t, nil)
	boot := l.disk(t, "boot", "KEEP="+marker)
	dir := t.TempDir()
	keyFile, wrongFile := filepath.Join(dir, "key"), filepath.Join(dir, "wrong")
	for name, text := range map[string]string{keyFile: passphrase + "\n", wrongFile: "a horse and a battery"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// fails runs indy guest and returns what it says to the error.
	fails := func(status int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), m.indy, append([]string{"guest"}, args...)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != status || bytes.Contains(out, []byte("horse")) {
			t.Errorf("indy guest %s: %v, want exit status %d: %s", strings.Join(args, " "), err, status, out)
		}
		return string(out)
	}
	guest := func(name, key string, flags ...string) (disk string) {
		t.Helper()
		m.guest(append([]string{"create", name, "--size", "16MiB"}, flags...)...)
		file := filepath.Join(dir, "definition.yaml")
		text := "name: " + name + "\nmemory: 256MiB\ndisks:\n  - {file: " + boot + ", bus: virtio, read_only: true}\n  - {file: system.qcow2, bus: virtio, key: " + key + "}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m.guest("edit", name, "--file", file)
		return "/var/lib/indy/guests/" + name + "/system.qcow2"
	}

	disk := guest("work", "passphrase", "--encrypt", "--key-file", keyFile)
	if said := m.guest("show", "work"); !strings.Contains(said, "encrypted, opened by a passphrase") || !strings.Contains(said, "16MiB") {
		t.Errorf("%s", said)
	}
	if said := fails(2, "start", "work", "--accel", "tcg"); !strings.Contains(said, "give it by --key-file") {
		t.Errorf("%s", said)
	}
	if said := fails(1, "start", "work", "--accel", "tcg", "--key-file", wrongFile); !strings.Contains(said, "the key does not open the disk "+disk) {
		t.Errorf("%s", said)
	}
	m.guest("start", "work", "--accel", "tcg", "--key-file", keyFile)
	m.said("work", "guest: wrote "+marker)
	hidden(t, passphrase)
	m.guest("stop", "work", "--force")
	m.guest("start", "work", "--accel", "tcg", "--key-file", keyFile)
	m.said("work", "guest: found "+marker)
	m.guest("stop", "work", "--force")
	unreadable(t, disk, passphrase, marker)

	// One with its key in a credential starts without anybody.
	disk = guest("alone", "credential:alone.cred", "--encrypt=credential")
	m.guest("start", "alone", "--accel", "tcg")
	m.said("alone", "guest: wrote "+marker)
	m.guest("stop", "alone", "--force")
	unreadable(t, disk, marker)
	if said := m.guest("show", "alone"); !strings.Contains(said, "opened by the credential alone.cred\n") && !strings.Contains(said, "opened by the credential alone.cred,") {
		t.Errorf("%s", said)
	}
	credential := "/var/lib/indy/guests/alone/alone.cred"
	if err := os.Rename(credential, credential+".away"); err != nil {
		t.Fatal(err)
	}
	if said := fails(1, "start", "alone", "--accel", "tcg"); !strings.Contains(said, credential+": no such file") {
		t.Errorf("%s", said)
	}
	if said := m.guest("show", "alone"); !strings.Contains(said, "missing") {
		t.Errorf("%s", said)
	}
	// The disk of another guest opens with none of its keys.
	if err := os.Rename(filepath.Join("/var/lib/indy/guests", "work", "system.qcow2"), disk); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(credential+".away", credential); err != nil {
		t.Fatal(err)
	}
	if said := fails(1, "start", "alone", "--accel", "tcg"); !strings.Contains(said, "the key does not open the disk "+disk) {
		t.Errorf("%s", said)
	}
	m.guest("delete", "alone", "--disks", "--yes")
	if _, err := os.Stat(credential); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key is left: %v", err)
	}
}

// unreadable fails the test if one of the words stands in a file as it is.
func unreadable(t *testing.T, file string, words ...string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range words {
		if bytes.Contains(data, []byte(w)) {
			t.Errorf("%q is in %s", w, file)
		}
	}
}

// hidden fails the test if a secret is in the arguments or the environment of a process, or in a
// file that is kept of a guest, as it is or in base64.
func hidden(t *testing.T, secret string) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, names...)
	}
	kept := len(files)
	for _, root := range []string{"/run/indy", "/var/lib/indy"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if kept < 4 || len(files)-kept < 5 {
		t.Fatalf("there is nothing to look at: %q", files)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // a process that has ended
		}
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
			if bytes.Contains(data, []byte(form)) {
				t.Errorf("the key is in %s", name)
			}
		}
	}
}
