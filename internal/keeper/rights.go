package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
)

// maxServers is how many name servers a guest is told of.
const maxServers = 16

// doRights does what a verb of [qemu.Rights] is, for the guest that was resolved and no other.
func (k *keeper) doRights(ctx context.Context, v verb, body json.RawMessage, files []*os.File) (any, []*os.File, error) {
	g, err := k.guest()
	if err != nil {
		return nil, nil, err
	}
	var f *os.File
	switch v {
	case kvmVerb:
		f, err = k.rights.KVM()
	case openVerb:
		var b openBody
		if err = errors.Join(json.Unmarshal(body, &b), none(files)); err == nil {
			f, err = k.open(g, b)
		}
	case variablesVerb:
		var b openBody
		if err = errors.Join(json.Unmarshal(body, &b), plain(files, 1)); err == nil {
			f, err = k.variables(g, b.Name, files[0])
		}
	case tpmVerb:
		var b openBody
		if err = json.Unmarshal(body, &b); err == nil && (b.Name == "" || b.Name != g.TPM) {
			err = notOf(g, b.Name)
		}
		return k.serves(err, func() (*os.File, qemu.Child, error) { return k.rights.TPM(b.Name) })
	case passtVerb:
		var b passtBody
		if err = json.Unmarshal(body, &b); err == nil && len(b.Servers) > maxServers {
			err = fmt.Errorf("%d name servers, more than %d", len(b.Servers), maxServers)
		}
		if !slices.ContainsFunc(g.NICs, func(n guest.NIC) bool { return n.Link == guest.LinkNAT }) {
			err = notOf(g, "passt")
		}
		return k.serves(err, func() (*os.File, qemu.Child, error) { return k.rights.Passt(b.Servers) })
	case folderVerb:
		var b folderBody
		if err = json.Unmarshal(body, &b); err == nil && !slices.Contains(g.Folders, b.Folder) {
			err = notOf(g, b.Folder.Path)
		}
		return k.serves(err, func() (*os.File, qemu.Child, error) { return k.rights.Folder(b.Folder) })
	case qemuVerb:
		out, err := k.qemu(ctx, g, body, files)
		return out, nil, err
	default:
		err = fmt.Errorf("%w: there is no %.40q", fs.ErrPermission, string(v))
	}
	if f == nil || err != nil {
		return nil, nil, err
	}
	return nil, []*os.File{f}, nil
}

// guest returns the guest that was resolved, while it is not over.
func (k *keeper) guest() (guest.Guest, error) {
	k.holding.Lock()
	defer k.holding.Unlock()
	if k.resolved == nil || k.released {
		return guest.Guest{}, errOrder
	}
	return k.resolved.Guest, nil
}

func notOf(g guest.Guest, what string) error {
	return fmt.Errorf("%w: %.200q is nothing of guest %s", fs.ErrPermission, what, g.Name)
}

// open opens a disk or a ROM of the guest, for writing only what the guest writes to.
func (k *keeper) open(g guest.Guest, b openBody) (*os.File, error) {
	may := slices.ContainsFunc(g.Disks, func(d guest.Disk) bool {
		return d.File == b.Name && (!b.Write || !d.ReadOnly && !d.CDROM)
	}) || !b.Write && slices.ContainsFunc(g.ROMs, func(r guest.ROM) bool { return r.File == b.Name })
	if !may {
		return nil, notOf(g, b.Name)
	}
	return k.rights.Open(b.Name, b.Write)
}

func (k *keeper) variables(g guest.Guest, name string, template *os.File) (*os.File, error) {
	if name == "" || name != g.Variables {
		return nil, notOf(g, name)
	}
	return k.rights.Variables(name, template)
}

// serves starts what serves the guest beside QEMU, unless err is there.
func (k *keeper) serves(err error, start func() (*os.File, qemu.Child, error)) (any, []*os.File, error) {
	if err != nil {
		return nil, nil, err
	}
	var f *os.File
	b, err := k.children.start(func() (c qemu.Child, _ []qemu.Measure, err error) {
		f, c, err = start()
		return c, nil, err
	})
	if err != nil {
		return nil, nil, err
	}
	return b, []*os.File{f}, nil
}

// qemu starts QEMU: for the guest when its devices are held, or for the probe of KVM before.
func (k *keeper) qemu(ctx context.Context, g guest.Guest, body json.RawMessage, files []*os.File) (any, error) {
	var m qemu.Machine
	if err := errors.Join(json.Unmarshal(body, &m), plain(files, len(files))); err != nil {
		return nil, err
	}
	if !qemu.IsProbe(m) {
		if err := k.while(func() error { return nil }); err != nil {
			return nil, err
		}
		if err := k.same(m, g); err != nil {
			return nil, err
		}
	}
	m.Seat = k.resolved.Seat // it does not change any more
	return k.children.start(func() (qemu.Child, []qemu.Measure, error) { return k.rights.QEMU(ctx, m, files) })
}

// same returns nil if m is a machine for g, with nothing of the host that g does not have.
func (k *keeper) same(m qemu.Machine, g guest.Guest) error {
	want, err1 := json.Marshal(g)
	got, err2 := json.Marshal(m.Guest)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return notOf(g, "another guest")
	}
	for _, node := range []string{m.RenderNode, m.Layout.RenderNode} {
		if ok, _ := path.Match("/dev/dri/renderD*", node); node != "" && !ok {
			return notOf(g, node)
		}
	}
	if s := m.Layout.SoundServer; s != "" && s != k.resolved.Seat.PulseServer() {
		return notOf(g, s)
	}
	return nil
}

// none returns nil if there are no files.
func none(files []*os.File) error { return plain(files, 0) }

// plain returns nil if there are n files, of which none is a directory: by one of those all that
// is below and above it could be reached.
func plain(files []*os.File, n int) error {
	if len(files) != n {
		return fmt.Errorf("%d files, expected %d", len(files), n)
	}
	for _, f := range files {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%w: a directory", fs.ErrPermission)
		}
	}
	return nil
}
