package gpu

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

const (
	graphics = "sys/class/graphics"
	iomem    = "proc/iomem"
)

// A Framebuffer is the memory into which the firmware drew, and who draws there
// now. A generic driver (simpledrm, efifb, vesafb), or the kernel for one, holds it
// until a GPU's own driver takes over; a GPU that is assigned before, has a part of
// its memory in use by the host, and its BAR cannot be mapped.
type Framebuffer struct {
	// Held is Yes while it is held. It is No only when /proc/iomem was read with its
	// addresses, which the kernel shows to root alone.
	Held   Answer
	Holder string // as simple-framebuffer.0 or BOOTFB

	// Function is the one in whose memory it lies. The zero Address is unknown.
	Function pci.Address

	Card    string // the card that simpledrm makes of it, as card0
	Because []Reason
}

// A Reason is what a conclusion stands on.
type Reason struct {
	Detail string
	File   string // where it can be seen, as /sys/class/drm/card0-eDP-1/status
}

// ReadFramebuffer looks for a holder of the firmware's framebuffer: among the links
// in /sys/class/drm and /sys/class/graphics, and in /proc/iomem. The error joins
// one *[OpError] for each that could not be read; what is missing is none.
func ReadFramebuffer(fsys fs.FS) (Framebuffer, error) {
	var f Framebuffer
	var errs []error
	for _, dir := range []string{class, graphics} {
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, &OpError{"list", "/" + dir, err})
		}
		for _, e := range entries {
			if numbered(e.Name(), "card") || numbered(e.Name(), "fb") {
				if err := f.link(fsys, dir, e.Name()); err != nil && e.Type()&fs.ModeSymlink != 0 && !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, &OpError{"read", e.Name(), err})
				}
			}
		}
	}
	data, err := fs.ReadFile(fsys, iomem)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, &OpError{"read", "/" + iomem, err})
		}
		return f, errors.Join(errs...)
	}
	regions, err := ParseIOMem(data)
	if err != nil {
		errs = append(errs, &OpError{"read", "/" + iomem, err})
	}
	f.regions(regions)
	return f, errors.Join(errs...)
}

// link takes an entry of a class whose device is a generic framebuffer, a platform
// device, since Linux 6.9 below the function whose memory it is.
func (f *Framebuffer) link(fsys fs.FS, dir, name string) error {
	target, err := fs.ReadLink(fsys, dir+"/"+name)
	if err != nil {
		return err
	}
	for elem := range strings.SplitSeq(target, "/") {
		if !genericFramebuffer(elem) {
			continue
		}
		f.hold(elem, "/"+dir+"/"+name)
		if dir == class && f.Card == "" {
			f.Card = name
		}
		if above := pci.InPath(target); len(above) > 0 {
			f.Function = above[len(above)-1]
		}
		break
	}
	return nil
}

// genericFramebuffer reports whether a device is named as the kernel names what it
// makes of the firmware's screen: simple-framebuffer.0, efi-framebuffer.0.
func genericFramebuffer(elem string) bool {
	head, _, ok := strings.Cut(elem, "-framebuffer.")
	return ok && head != "" || strings.HasSuffix(elem, ".framebuffer")
}

func (f *Framebuffer) hold(holder, file string) {
	holder = plain.Line(holder, maxText)
	f.Held = Yes
	if f.Holder == "" {
		f.Holder = holder
	}
	if len(f.Because) < maxHolders {
		f.Because = append(f.Because, Reason{holder + " holds the firmware's framebuffer", file})
	}
}

func (f *Framebuffer) regions(regions []Region) {
	found := 0
	for i, r := range regions {
		if !slices.Contains(holders, r.Name) {
			continue
		}
		if found++; found > maxHolders {
			break
		}
		f.hold(r.Name, "/"+iomem)
		if a, ok := owner(regions, i); ok && !f.Function.IsValid() {
			f.Function = a
		}
	}
	if f.Held != Unknown {
		return
	}
	if hidden(regions) {
		f.Because = append(f.Because, Reason{"the kernel hides the addresses from who is not root", "/" + iomem})
		return
	}
	f.Held = No
	f.Because = append(f.Because, Reason{"no region is the firmware's framebuffer", "/" + iomem})
}

const maxHolders = 16

// holders are the names under which the memory is reserved.
var holders = []string{"BOOTFB", "simple-framebuffer", "simplefb", "simpledrm", "efifb", "efidrm", "vesafb", "vesadrm"}
