package qemu

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/image"
	"github.com/project-independence/indy/internal/hosttest"
)

// encryptedDisk makes an encrypted disk that starts program.
func encryptedDisk(t *testing.T, key *DiskKey, program, text string) guest.Disk {
	t.Helper()
	needImg(t)
	plain := bootDisk(t, program, text)
	if err := os.Chmod(plain, 0o644); err != nil { // qemu-img does not run as root
		t.Fatal(err)
	}
	f, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := ConvertDisk(t.Context(), name, f, image.Raw, key); err != nil {
		t.Fatal(err)
	}
	d := guest.Disk{File: name, Format: guest.Qcow2}
	if key != nil {
		d.Key.Kind = guest.Passphrase
	}
	return d
}

// A log keeps what is told.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestEncryptedDisk starts a guest from an encrypted disk, in a jail and without one, and looks for the
// key and for what is on the disk wherever they could be seen.
func TestEncryptedDisk(t *testing.T) {
	needQEMU(t)
	key := NewKey()
	secret, marker := string(key.Secret), "written to the disk"
	disk := encryptedDisk(t, &key, printText, marker)
	if string(key.Secret) != secret {
		t.Fatal("the key of a disk that is made was overwritten")
	}
	hides := func(what, text string) {
		t.Helper()
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("the key is in %s", what)
		}
	}
	file, err := os.ReadFile(disk.File)
	if err != nil || bytes.Contains(file, []byte(marker)) || !bytes.Contains(file, []byte("LUKS\xba\xbe")) {
		t.Errorf("the disk can be read by everybody (%v)", err)
	}
	hides("the disk", string(file))
	options := map[string]Options{"no jail": {}}
	if os.Geteuid() == 0 {
		options["jail"] = inJail(Options{})
	}
	for name, o := range options {
		t.Run(name, func(t *testing.T) {
			g, out, told := guestOf(), newConsole(), new(log)
			g.Disks = []guest.Disk{disk, {File: bootDisk(t, printText, "the other disk"), Bus: guest.VirtIO, ReadOnly: true}}
			o.PowerdownTimeout = -1
			o.Keys = [][]byte{[]byte(secret)}
			o.Serial, o.Logger = out, slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelDebug}))
			vm := startTest(t, g, o)
			out.waitFor(t, marker)
			if !bytes.Equal(o.Keys[0], make([]byte, len(secret))) {
				t.Error("the key was not overwritten")
			}
			for _, name := range []string{"cmdline", "environ", "status", "maps"} {
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", vm.PID(), name))
				if err != nil {
					t.Error(err)
				}
				hides(name, string(text))
			}
			if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", vm.PID())); !bytes.Contains(args, []byte(`"key-secret":"key0"`)) {
				t.Errorf("the disk is not opened with a key: %q", args)
			}
			links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", vm.PID()))
			if err != nil || len(links) < 3 {
				t.Errorf("%v, %v", links, err)
			}
			for _, link := range links { // nothing is left in the pipe either
				if to, _ := os.Readlink(link); strings.Contains(to, "memfd") {
					t.Errorf("%s is %s", link, to)
				}
			}
			var dumped any
			if err := vm.QMP().Call(t.Context(), "query-named-block-nodes", nil, &dumped); err != nil {
				t.Error(err)
			}
			hides("what QEMU says of disks", fmt.Sprint(dumped))
			if err := vm.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			hides("the log", told.String())
		})
	}
}

// TestKeyRefused starts no guest whose disk is not what it is said to be, or has another key.
func TestKeyRefused(t *testing.T) {
	needQEMU(t)
	key := NewKey()
	encrypted, plain := encryptedDisk(t, &key, printText, "x"), encryptedDisk(t, nil, printText, "x")
	with := func(d guest.Disk, k guest.KeyKind) guest.Disk {
		d.Key.Kind = k
		return d
	}
	var refused *image.RefusedError
	var wrong *KeyError
	other := "0123456789 is not it"
	for _, tt := range []struct {
		name string
		disk guest.Disk
		keys [][]byte
		as   any
		want string
	}{
		{"another key", encrypted, [][]byte{[]byte(other)}, &wrong, "the key does not open the disk " + encrypted.File + " (QEMU: Invalid password"},
		{"no key", encrypted, nil, nil, "there is no key to it"},
		{"an empty key", encrypted, [][]byte{{}}, nil, "the key to the disk is empty"},
		{"encrypted, and it is not said", with(encrypted, guest.NoKey), nil, &refused, "encryption"},
		{"said, and not encrypted", with(plain, guest.Passphrase), [][]byte{[]byte(other)}, &refused, "no encryption"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, o := range map[string]Options{"": {}, "in a jail": inJail(Options{})} {
				if name != "" && os.Geteuid() != 0 {
					continue
				}
				g := guestOf()
				g.Disks = []guest.Disk{tt.disk}
				for _, k := range tt.keys {
					o.Keys = append(o.Keys, bytes.Clone(k))
				}
				o.Accelerator = TCG
				_, err := Start(t.Context(), g, o)
				if err == nil || !strings.Contains(err.Error(), tt.want) || tt.as != nil && !errors.As(err, tt.as) {
					t.Errorf("%s: %v, want %q", name, err, tt.want)
				}
				if strings.Contains(fmt.Sprint(err), other) {
					t.Errorf("%s: the key is in the error: %v", name, err)
				}
				for _, k := range o.Keys {
					if !bytes.Equal(k, make([]byte, len(k))) {
						t.Error("the key was not overwritten")
					}
				}
			}
		})
	}
	g := guestOf()
	g.Disks = []guest.Disk{with(plain, guest.Passphrase)}
	if err := Check(g, Options{}); !errors.As(err, &refused) || refused.Trick != image.NotEncrypted {
		t.Errorf("Check: %v", err)
	}
}

func TestCheckKey(t *testing.T) {
	for in, want := range map[string]string{
		"a": "", "zwölf Boxkämpfer": "", strings.Repeat("x", guest.MaxKey): "",
		"": "empty", strings.Repeat("x", guest.MaxKey+1): "513 bytes, more than 512", "a\x00b": "zero bytes", "hunter2\xff": "UTF-8",
	} {
		err := CheckKey([]byte(in))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%.20q: %v", in, err)
		}
	}
	a, b := NewKey(), NewKey()
	if CheckKey(a.Secret) != nil || len(a.Secret) != 64 || bytes.Equal(a.Secret, b.Secret) {
		t.Errorf("%q, %q", a.Secret, b.Secret)
	}
}

// withCreds puts a systemd-creds in front that has its key of the host in a folder of the test.
func withCreds(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "systemd-creds"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

// TestCredential makes a credential with the real systemd-creds and opens it.
func TestCredential(t *testing.T) {
	creds, err := exec.LookPath("systemd-creds")
	if err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal(err, "not root, or no systemd-creds")
		}
		hosttest.Missing(t, "root needs systemd-creds of the package systemd")
	}
	seen := filepath.Join(t.TempDir(), "seen")
	withCreds(t, "echo \"$*\" >>"+seen+"; env >>"+seen+"; export SYSTEMD_CREDENTIAL_SECRET="+t.TempDir()+"/secret; exec "+creds+" \"$@\"\n")
	file, key := filepath.Join(t.TempDir(), "work.cred"), NewKey()
	if err := MakeCredential(t.Context(), file, HostSeal, key.Secret); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if seal, e := CredentialSeal(file); e != nil || seal != HostSeal {
		t.Errorf("sealed by %q, %v", seal, e)
	}
	if info, e := os.Stat(file); err != nil || e != nil || info.Mode().Perm() != 0o600 || bytes.Contains(text, key.Secret) {
		t.Errorf("%q, %v, %v", text, err, e)
	}
	got, err := OpenCredential(t.Context(), file)
	if err != nil || !bytes.Equal(got, key.Secret) {
		t.Errorf("%q, %v", got, err)
	}
	if text, err := os.ReadFile(seen); err != nil || bytes.Contains(text, key.Secret) || !bytes.Contains(text, []byte("--name=work.cred")) {
		t.Errorf("%q, %v", text, err)
	}
	if err := MakeCredential(t.Context(), file, HostSeal, key.Secret); !errors.Is(err, os.ErrExist) {
		t.Errorf("over what is there: %v", err)
	}
	// By another name it is another one: nobody puts it in the place of that.
	other := filepath.Join(filepath.Dir(file), "other.cred")
	if err := os.Rename(file, other); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCredential(t.Context(), other); err == nil || !strings.Contains(err.Error(), "open the credential "+other+": systemd-creds: exit status 1: ") {
		t.Errorf("of another name: %v", err)
	}
	if _, err := OpenCredential(t.Context(), file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	own := func(args ...string) string {
		t.Helper()
		file, arg := filepath.Join(t.TempDir(), "any.cred"), append(append([]string{"encrypt"}, args...), "-", "-")
		cmd := exec.CommandContext(t.Context(), "systemd-creds", arg...)
		cmd.Stdin = bytes.NewReader(key.Secret)
		text, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// One that has no name inside is taken by any name, as docs/guests.md says; this fails when a
	// version of systemd thinks better of it.
	if got, err := OpenCredential(t.Context(), own("--with-key=host", "--name=")); err != nil || !bytes.Equal(got, key.Secret) {
		t.Errorf("without a name inside: %v", err)
	}
	// What everybody can open is no key.
	open := own("--with-key=tpm2-absent", "--name=any.cred")
	if seal, err := CredentialSeal(open); err != nil || seal != NoSeal {
		t.Errorf("sealed by %q, %v", seal, err)
	}
	if _, err := OpenCredential(t.Context(), open); err == nil || !strings.Contains(err.Error(), "encrypted with no key") {
		t.Errorf("of no key: %v", err)
	}
	text[len(text)/2] ^= 1
	for name, content := range map[string][]byte{"damaged": text, "empty": nil, "huge": make([]byte, maxCredential+1)} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCredential(t.Context(), file); err == nil || !strings.Contains(err.Error(), "work.cred") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoCredential(t *testing.T) {
	file := filepath.Join(t.TempDir(), "work.cred")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ script, want string }{
		"too much":      {"head -c 100000 /dev/zero", "exit status"},
		"nothing":       {"true", "is empty"},
		"zero bytes":    {"printf 'a\\0b'", "zero bytes"},
		"its own words": {"echo 'No TPM2 support.' >&2; exit 1", "No TPM2 support."},
	} {
		withCreds(t, tt.script+"\n")
		if _, err := OpenCredential(t.Context(), file); err == nil || name != "too much" && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	withCreds(t, "exit 1")
	other := filepath.Join(t.TempDir(), "other.cred")
	for _, seal := range []Seal{TPMSeal, "null"} {
		if err := MakeCredential(t.Context(), other, seal, []byte("x")); err == nil {
			t.Errorf("%s: made", seal)
		}
	}
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := OpenCredential(t.Context(), file); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "install the package systemd") {
		t.Errorf("without the program: %v", err)
	}
}

func TestSealOf(t *testing.T) {
	text := func(hexed string) string {
		kind, err := hex.DecodeString(hexed)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(append(kind, make([]byte, 100)...))
	}
	// Those of each mode of systemd-creds 252, in a machine with a TPM.
	const host, tpm, both, null = "5a1c6a86df9d4096b1d5a65e0862f19a", "0c7cc07b117645919c4b0bea08bc20fe", "93a894094874449090caf2fc93cab553", "058469daf6f54324800549da0f8ea2fb"
	for in, want := range map[string]Seal{
		text(host): HostSeal, text(tpm): TPMSeal, text(both): BothSeal, text(null): NoSeal,
		text("00" + host): "", text(tpm)[:10] + "\n" + text(tpm)[10:]: TPMSeal, text(tpm)[:40] + "!": TPMSeal,
		text(tpm)[:20]: "", "": "", "x": "", "\x00\xff": "", strings.Repeat("=", 100): "",
	} {
		if got := sealOf([]byte(in)); got != want {
			t.Errorf("%.60q: %q, want %q", in, got, want)
		}
	}
}
