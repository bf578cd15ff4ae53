package daemon

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
)

// files makes, beside the guests, a folder of images that root has, and others.
func (f fixture) files(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	own := f.Store.Folder("free")
	var errs []error
	for _, d := range []string{"images", "images/sub", "images/shared", "others"} {
		errs = append(errs, os.Mkdir(in(d), 0o755))
	}
	for _, file := range []string{in("images/a.iso"), in("images/secret.raw"), in("images/read.raw"), in("images/sub/b.iso"), in("images/shared/c.iso"), in("images/open.iso"), in("others/d.iso"),
		filepath.Join(own, "system.qcow2"), filepath.Join(own, "uefi-variables"), filepath.Join(f.Store.Folder("secret"), "secret.raw")} {
		errs = append(errs, os.WriteFile(file, nil, 0o600))
	}
	errs = append(errs,
		os.Symlink("/dev/null", in("images/link.iso")), os.Symlink("../others", in("images/aside")), os.Symlink(in("images"), in("alias")),
		os.Symlink("/etc", filepath.Join(own, "etc")), os.Symlink("../secret/secret.raw", filepath.Join(own, "theirs.raw")), os.Symlink("../secret/secret.cred", filepath.Join(own, "theirs.cred")),
		os.Chmod(in("images/shared"), 0o777), os.Chmod(in("images/open.iso"), 0o666), syscall.Mkfifo(in("images/fifo.raw"), 0o600), os.Mkdir(in("images/dir.raw"), 0o755),
		os.WriteFile(filepath.Join(f.Store.Folder("secret"), "guest.yaml"),
			fmt.Appendf(nil, "name: secret\nmemory: 1GiB\nlocked: true\ndisks: [{file: %s}, {file: %s, format: raw, read_only: true}]\n", in("images/secret.raw"), in("images/read.raw")), 0o600))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	f.Images = []string{in("images"), in("missing"), in("alias")}
	return dir
}

// TestFiles: who is no administrator names no file of the host but images that root has for
// guests, however it is written.
func TestFiles(t *testing.T) {
	disk := func(file string) string { return "disks: [{file: " + file + ", format: raw}]" }
	reads := func(file string) string { return "disks: [{file: " + file + ", format: raw, read_only: true}]" }
	key := func(file string) string { return "disks: [{file: system.qcow2, key: \"credential:" + file + "\"}]" }
	iso := func(file string) string { return "cdroms: [" + file + "]" }
	for _, test := range []struct {
		name, text string
		want       string // why not; empty is that it is taken
	}{
		{"nothing", "", ""},
		{"its own", disk("system.qcow2"), ""},
		{"its own, by the whole name", disk("$own/system.qcow2"), ""},
		{"its own, not there yet", disk("new.raw"), ""},
		{"its own, as a CD-ROM", iso("system.qcow2"), ""},
		{"an image", iso("$dir/images/a.iso"), ""},
		{"an image further down", iso("$dir/images/sub/b.iso"), ""},
		{"an image written oddly", iso("$dir/images//./a.iso"), ""},
		{"an image to write to", disk("$dir/images/a.iso"), ""},
		{"the folder of images by another name", iso("$dir/alias/a.iso"), ""},
		{"not there yet", iso("$dir/images/z.iso"), ""},

		{"its own credential, not there yet", key("free.cred"), ""},
		{"another guest's credential", key("../secret/secret.cred"), "is no credential in the guest's own folder"},
		{"another guest's credential, by the whole name", key("$guests/secret/secret.cred"), "is no credential in the guest's own folder"},
		{"a credential that is a link", key("theirs.cred"), "symbolic link"},
		{"a file that is no credential", key("system.qcow2"), "is no credential"},
		{"a disk of the host", disk("/dev/sda"), "is in none of these"},
		{"a disk of the host, read", reads("/dev/nvme0n1"), "is in none of these"},
		{"one as a CD-ROM", iso("/dev/sr0"), "is in none of these"},
		{"the host's passwords", reads("/etc/shadow"), "is in none of these"},
		{"one beside", iso("$dir/others/d.iso"), "is in none of these"},
		{"one whose name begins so", iso("$dir/images-not/d.iso"), "is in none of these"},
		{"the folder itself", iso("$dir/images"), "is in none of these"},
		{"the guest's folder itself", disk("."), "is in none of these"},
		{"up", disk("../secret/secret.raw"), "has .. in it"},
		{"up and down again", disk("../free/system.qcow2"), "has .. in it"},
		{"up in the middle", iso("$dir/images/sub/../../others/d.iso"), "has .. in it"},
		{"up behind a link", disk("etc/../../secret/secret.raw"), "has .. in it"},
		{"another guest's", disk("$guests/secret/secret.raw"), "is in none of these"},
		{"a link", iso("$dir/images/link.iso"), "symbolic link"},
		{"behind a link", iso("$dir/images/aside/d.iso"), "symbolic link"},
		{"a link in its own folder", disk("theirs.raw"), "symbolic link"},
		{"behind one in its own folder", disk("etc/x.raw"), "symbolic link"},
		{"a FIFO", disk("$dir/images/fifo.raw"), "is no file"},
		{"a folder", disk("$dir/images/dir.raw"), "is no file"},
		{"below a file", iso("$dir/images/a.iso/b.iso"), "not a directory"},
		{"in a folder that others write to", iso("$dir/images/shared/c.iso"), "can be changed by others"},
		{"a file that others write to", iso("$dir/images/open.iso"), "can be changed by others"},
		{"in a folder that is not there", iso("$dir/missing/a.iso"), "cannot be looked at"},
		{"its own definition", disk("guest.yaml"), "is no image by its name"},
		{"its own variables", reads("uefi-variables"), "is no image by its name"},
		{"what its TPM keeps", reads("tpm/tpm2-00.permall"), "is no image by its name"},
		{"a locked guest's image", disk("$dir/images/secret.raw"), "is a disk of a locked guest"},
		{"the same by another name, read", reads("$dir/alias/secret.raw"), "is a disk of a locked guest"},
		{"what a locked guest reads", reads("$dir/images/read.raw"), ""},
		{"what a locked guest reads, to write to", disk("$dir/images/read.raw"), "is a disk of a locked guest"},
		{"a folder of the host", "folders: [{path: /etc, name: etc}]", "is in none of these"},
		{"its own folder", "folders: [{path: $own, name: own}]", "is in none of these"},
		{"a folder of images", "folders: [{path: $dir/images/sub, name: sub, read_only: true}]", ""},
		{"all images", "folders: [{path: $dir/images, name: all, read_only: true}]", ""},
		{"a file as a folder", "folders: [{path: $dir/images/a.iso, name: a}]", "is no folder"},
		{"a ROM", "devices: [{want: ethernet, how: assign, rom: {file: /dev/sda, sha256: $sum}}]", "is in none of these"},
		{"a ROM of its own", "devices: [{want: ethernet, how: assign, rom: {file: nic.rom, sha256: $sum}}]", ""},
		{"one of several", "disks: [{file: system.qcow2}, {file: /dev/sda, format: raw}]", `disks[1].file: "/dev/sda" is in none of these`},
	} {
		t.Run(strings.ReplaceAll(test.name, ",", ""), func(t *testing.T) { // it becomes a part of names in definitions
			t.Parallel()
			f := newFixture(t)
			dir := f.files(t)
			more := strings.NewReplacer("$dir", dir, "$guests", f.Store.Dir, "$own", f.Store.Folder("free"), "$sum", strings.Repeat("0f", 32)).Replace(test.text)
			edit := func(role Role) (int, string) {
				a := f.ask(t, role, http.MethodPut, "/v1/guests/free", fmt.Sprintf(`{"before":%q,"definition":%q}`, "name: free\nmemory: 1GiB\n", "name: free\nmemory: 2GiB\n"+more+"\n"))
				return a.Code, a.Body.String()
			}
			code, said := edit(Operator)
			switch {
			case test.want == "" && code != http.StatusOK:
				t.Errorf("%d: %s", code, said)
			case test.want != "" && (code != http.StatusForbidden || !strings.Contains(strings.ReplaceAll(said, `\"`, `"`), test.want)):
				t.Errorf("%d, want 403 with %q: %s", code, test.want, said)
			case test.want != "":
				if code, said := edit(Admin); code != http.StatusOK {
					t.Errorf("an administrator: %d: %s", code, said)
				}
			}
			if !strings.Contains(test.text, "$dir") {
				return // of a new guest nothing is there yet
			}
			a := f.ask(t, Operator, http.MethodPost, "/v1/guests", fmt.Sprintf(`{"definition":%q}`, "name: new\nmemory: 1GiB\n"+more+"\n"))
			if want := map[bool]int{true: http.StatusCreated, false: http.StatusForbidden}[test.want == ""]; a.Code != want {
				t.Errorf("made: %d, want %d: %s", a.Code, want, a.Body)
			}
		})
	}
}

// TestFilesStay: what an administrator has given a guest stays with it when somebody else
// changes something else, and becomes nothing more.
func TestFilesStay(t *testing.T) {
	const given = "name: free\nmemory: 1GiB\ndisks: [{file: /dev/sda, format: raw, read_only: true, bus: virtio}, {file: /dev/sdb, format: raw}]\ncdroms: [/srv/a.iso]\n" +
		"folders: [{path: /srv, name: srv, read_only: true}]\n"
	for _, test := range []struct {
		name, from, to string
		code           int
	}{
		{"memory", "1GiB", "2GiB", 200},
		{"less", "{file: /dev/sdb, format: raw}", "{file: /dev/sdb, format: raw, read_only: true, bus: virtio}", 200},
		{"another bus", "{file: /dev/sdb, format: raw}", "{file: /dev/sdb, format: raw, bus: nvme}", 200},
		{"without", "cdroms: [/srv/a.iso]\n", "", 200},
		{"to write to", "read_only: true, bus: virtio", "bus: virtio", 403},
		{"in another format", "{file: /dev/sdb, format: raw}", "{file: /dev/sdb, format: qcow2}", 403},
		{"another", "/dev/sdb", "/dev/sdc", 403},
		{"one more", "[/srv/a.iso]", "[/srv/a.iso, /srv/b.iso]", 403},
		{"a CD-ROM as a disk", "{file: /dev/sdb, format: raw}", "{file: /srv/a.iso, format: raw, read_only: true}", 403},
		{"a folder to write to", "name: srv, read_only: true", "name: srv", 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, given)
			to := strings.Replace(given, test.from, test.to, 1)
			if test.name == "a CD-ROM as a disk" {
				to = strings.Replace(to, "cdroms: [/srv/a.iso]\n", "", 1)
			}
			a := f.ask(t, Operator, http.MethodPut, "/v1/guests/free", fmt.Sprintf(`{"before":%q,"definition":%q}`, given, to))
			if a.Code != test.code {
				t.Errorf("%d, want %d: %s", a.Code, test.code, a.Body)
			}
			e, err := f.Store.Read("free")
			if want := map[bool]string{true: to, false: given}[test.code == 200]; err != nil || string(e.Text) != want {
				t.Errorf("%v\n%s", err, cmp.Diff(want, string(e.Text)))
			}
		})
	}
}

// TestFilesDevice: a node of a device is no image, wherever it is.
func TestFilesDevice(t *testing.T) {
	f := newFixture(t)
	dir := f.files(t)
	node := filepath.Join(dir, "images", "disk.raw")
	if err := syscall.Mknod(node, syscall.S_IFBLK|0o600, 7<<8); err != nil {
		hosttest.Missing(t, "no node of a device can be made: %v", err)
	}
	r := fileRule{own: f.Store.Folder("free"), images: f.Images}
	if err := r.check(node, false, false); err == nil || err.Error() != "is no file" {
		t.Error(err)
	}
}
