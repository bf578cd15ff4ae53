package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// sealedWord is what the guest says that starts from its encrypted disk.
const sealedWord = "started from the sealed disk"

// TestSealed has the key of a guest's disk sealed to the TPM 2.0 of the emulated laptop, starts the laptop
// anew with that TPM, and then with another one, to which disk and credential were carried.
func TestSealed(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	for program, pkg := range map[string]string{"swtpm": "swtpm", "systemd-creds": "systemd", "tpm2_pcrextend": "tpm2-tools", "qemu-img": "qemu-utils"} {
		if _, err := exec.LookPath(program); err != nil {
			hosttest.Missing(t, "%v; it is in the package %s, which make lab installs", err, pkg)
		}
	}
	m := lab.Machine{Out: t.TempDir(), Env: []string{indyVariable + "=" + labtest.BuildIndy(t)}}
	boot := func(test, tpm string) {
		t.Helper()
		m.Extra = labTPM(t, tpm)
		labtest.RunTestOn(t, m, "./internal/cli", "^"+test+"$")
	}
	own := t.TempDir()
	boot("TestSealInside", own)
	boot("TestSealedInside", own)
	boot("TestSealedElsewhereInside", t.TempDir())
}

// labTPM starts an emulated TPM 2.0 that is kept in a folder, for one machine, with which it ends,
// and returns QEMU's arguments.
func labTPM(t *testing.T, state string) []string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tpm") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "tpm")
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--ctrl", "type=unixio,path="+socket, "--terminate")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		select {
		case <-ended:
			t.Fatalf("swtpm ended: %s", &said)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("swtpm makes no socket")
		}
	}
	return []string{"-chardev", "socket,id=tpm,path=" + socket, "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"}
}

const (
	guestFolders = "/var/lib/indy/guests"
	// keptFolder is where the guest is from one machine to the next.
	keptFolder = lab.OutDir + "/guests"
)

// sealing returns what runs indy guest and returns what it says, to an error if the status is not 0.
func sealing(t *testing.T) func(status int, args ...string) string {
	return func(status int, args ...string) string {
		t.Helper()
		began := time.Now()
		out, err := exec.CommandContext(t.Context(), os.Getenv(indyVariable), append([]string{"guest"}, args...)...).CombinedOutput()
		t.Logf("indy guest %s in %v:\n%s", strings.Join(args, " "), time.Since(began).Round(time.Millisecond), out)
		got := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != status {
			t.Fatalf("exit status %d, want %d", got, status)
		}
		return string(out)
	}
}

// says fails the test if a text lacks words.
func says(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in: %s", w, text)
		}
	}
}

func runIn(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// startsSealed starts the guest that is sealed, which says that it was read from its disk.
func startsSealed(t *testing.T) {
	t.Helper()
	indy := sealing(t)
	says(t, indy(0, "start", "sealed", "--accel", "tcg", "--wait", "ready"), "ready after")
	indy(0, "stop", "sealed", "--force")
}

// withoutTPM has the kernel give up the TPM, as if there were none, until the test ends.
func withoutTPM(t *testing.T) {
	t.Helper()
	const driver, device = "/sys/bus/acpi/drivers/tpm_crb/", "MSFT0101:00"
	if err := os.WriteFile(driver+"unbind", []byte(device), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/dev/tpmrm0"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the TPM is still there: %v", err)
	}
}

func TestSealInside(t *testing.T) {
	labtest.Inside(t)
	indy, dir := sealing(t), t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // qemu-img converts as somebody else
		t.Fatal(err)
	}
	raw, image := filepath.Join(dir, "boot.raw"), filepath.Join(dir, "boot.vmdk")
	if err := lab.NVMeImage(raw, sealedWord); err != nil {
		t.Fatal(err)
	}
	runIn(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, image)
	definition := filepath.Join(dir, "definition.yaml")
	text := "name: sealed\nmemory: 64MiB\nfirmware: bios\nautostart: {ready: {serial: \"" + sealedWord + "\"}}\n" +
		"disks: [{file: boot.qcow2, bus: virtio, key: \"credential:sealed.cred\"}]\n"
	if err := os.WriteFile(definition, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	// What the machine around has is not to be here.
	const hostKey = "/var/lib/systemd/credential.secret"
	runIn(t, "rm", "-rf", hostKey, guestFolders)
	indy(0, "create", "sealed", "--disk", image, "--encrypt=tpm")
	says(t, indy(0, "show", "sealed"), "encrypted, opened by the credential sealed.cred, sealed to the TPM")
	indy(0, "edit", "sealed", "--file", definition)
	credential := guestFolders + "/sealed/sealed.cred"
	text = runIn(t, "cat", credential)
	// What systemd's creds-util.h calls CRED_AES256_GCM_BY_TPM2_HMAC; with the host's key it would be another.
	if kind, err := base64.StdEncoding.DecodeString(text[:24]); err != nil || hex.EncodeToString(kind[:16]) != "0c7cc07b117645919c4b0bea08bc20fe" {
		t.Errorf("%x, %v", kind, err)
	}
	if _, err := os.Stat(hostKey); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("systemd-creds made a key of the host for it: %v", err)
	}
	unreadable(t, guestFolders+"/sealed/boot.qcow2", sealedWord)
	startsSealed(t)
	runIn(t, "cp", "-a", guestFolders, keptFolder)

	// Without the libraries that systemd-creds loads.
	doctor := func() string {
		out, _ := exec.CommandContext(t.Context(), os.Getenv(indyVariable), "doctor", "--json").Output() // the lab has problems
		return string(out)
	}
	says(t, doctor(), "systemd-creds can seal the keys")
	runIn(t, "sh", "-c", "for f in /usr/lib/*/libtss2-esys.so.0; do mv $f $f.away; done")
	says(t, indy(5, "start", "sealed", "--accel", "tcg"), "TPM2 support", "libtss2-esys-3.0.2-0")
	says(t, doctor(), "systemd-creds lacks the libraries")
	runIn(t, "sh", "-c", "for f in /usr/lib/*/libtss2-esys.so.0.away; do mv $f ${f%.away}; done")

	// The host was started in another way, as far as the TPM knows.
	runIn(t, "tpm2_pcrextend", "7:sha1="+strings.Repeat("1", 40)+",sha256="+strings.Repeat("1", 64))
	says(t, indy(1, "start", "sealed", "--accel", "tcg"), credential, "sealed to a TPM 2.0", "started in another way")

	withoutTPM(t)
	says(t, indy(5, "start", "sealed", "--accel", "tcg"), credential, "this host has no TPM 2.0")
	says(t, indy(5, "create", "other", "--encrypt=tpm", "--size", "1MiB"), "this host has no TPM 2.0")
	if _, err := os.Stat(guestFolders + "/other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left of a guest that could not be made: %v", err)
	}
}

// restore puts the guest where it was on another machine.
func restore(t *testing.T) {
	t.Helper()
	runIn(t, "rm", "-rf", guestFolders) // what the machine around has
	runIn(t, "mkdir", "-p", filepath.Dir(guestFolders))
	runIn(t, "cp", "-a", keptFolder, guestFolders)
}

func TestSealedInside(t *testing.T) {
	labtest.Inside(t)
	restore(t)
	startsSealed(t)
}

func TestSealedElsewhereInside(t *testing.T) {
	labtest.Inside(t)
	restore(t)
	indy := sealing(t)
	says(t, indy(1, "start", "sealed", "--accel", "tcg"), guestFolders+"/sealed/sealed.cred", "sealed to a TPM 2.0, and opens with no other")
	// This TPM is as good as that one, for what is sealed to it.
	indy(0, "create", "own", "--encrypt=tpm", "--size", "1MiB")
}
