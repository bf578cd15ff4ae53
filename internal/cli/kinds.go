package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/vflink"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

const kindsHelp = `A USB device goes by itself when it is named, as 1-4: the drivers of the host let go
of its interfaces, and the guest opens its node. With --vfs N the named function stays
with its driver, and N virtual functions of it go (SR-IOV): they are made if there are
none, and destroyed when they are given back. With --mdev TYPE the named function stays,
too, and a mediated device of that type goes, which is made and taken away so.`

// withSettings is the host with the settings of virtual functions, of which a running
// kernel has no files.
func (e *Env) withSettings() hostfs.FS {
	if live, ok := e.Host.(*hostfs.LiveHost); ok && e.Broker != nil {
		return vflink.Over(live, e.Broker)
	}
	return e.Host
}

// settingsOf is withSettings for who only reads.
func (e *Env) settingsOf(fsys fs.FS) fs.FS {
	if live, ok := fsys.(*hostfs.LiveHost); ok && e.Broker != nil {
		return vflink.Over(live, e.Broker)
	}
	return fsys
}

// parts are the flags that ask for a part of a device.
type parts struct {
	vfs   int
	macs  []string
	vlans []int
	spoof string
	mdev  string
	uuid  string
}

func (p *parts) add(env *Env, cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&p.vfs, "vfs", 0, "hand over `N` virtual functions (SR-IOV) of the named one, which stays")
	f.StringSliceVar(&p.macs, "vf-mac", nil, "`MAC,...`, the addresses of the virtual functions, one for each in turn")
	f.IntSliceVar(&p.vlans, "vf-vlan", nil, "`N,...`, the VLANs of the virtual functions, one for each in turn; 0 is none")
	f.StringVar(&p.spoof, "vf-spoof-check", "", "on drops what a virtual function sends from another address, off lets it; else as the driver has it")
	f.StringVar(&p.mdev, "mdev", "", "hand over a mediated device of this `TYPE`, made of the named function, which stays")
	f.StringVar(&p.uuid, "uuid", "", "of the mediated device; without it a random one")
	_ = cmd.RegisterFlagCompletionFunc("vf-spoof-check", cobra.FixedCompletions([]cobra.Completion{"on", "off"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("mdev", func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var types []cobra.Completion
		for _, parent := range args {
			all, _ := gpu.MediatedTypesOf(env.Host, strings.TrimPrefix(parent, "pci:"))
			for _, t := range all {
				types = append(types, cobra.CompletionWithDesc(t.ID, strings.TrimSpace(t.Name+" "+t.Description)))
			}
		}
		return types, cobra.ShellCompDirectiveNoFileComp
	})
}

// check says which flags have no meaning together.
func (p *parts) check(words []string) error {
	switch {
	case p.vfs < 0:
		return usageError{errors.New("--vfs takes a number from 1")}
	case p.vfs == 0 && (len(p.macs) > 0 || len(p.vlans) > 0 || p.spoof != ""):
		return usageError{errors.New("--vf-mac, --vf-vlan and --vf-spoof-check are of use with --vfs only")}
	case p.mdev == "" && p.uuid != "":
		return usageError{errors.New("--uuid is of use with --mdev only")}
	case p.mdev != "" && p.vfs > 0:
		return usageError{errors.New("--vfs and --mdev make different things of a function: use one of them")}
	case (p.mdev != "" || p.vfs > 0) && len(words) != 1:
		return usageError{errors.New("--vfs and --mdev are about one function: name one")}
	case p.spoof != "" && p.spoof != "on" && p.spoof != "off":
		return usageError{fmt.Errorf("--vf-spoof-check %q: expected on or off", p.spoof)}
	}
	return nil
}

// name adds what words name to a request.
func (p *parts) name(m *machine, words []string, to *assign.Request) error {
	if err := p.check(words); err != nil {
		return err
	}
	switch {
	case p.mdev != "":
		return p.mediated(m, words[0], to)
	case p.vfs > 0:
		return p.virtual(m, words[0], to)
	}
	for _, w := range words {
		d, err := m.Find(w, m.names)
		switch {
		case err != nil:
			return err
		case d.USB != nil:
			if !slices.Contains(to.USB, d.USB.Path) {
				to.USB = append(to.USB, d.USB.Path)
			}
		case d.PCI != nil:
			if !slices.Contains(to.Devices, d.PCI.Address) {
				to.Devices = append(to.Devices, d.PCI.Address)
			}
		default:
			return unsupported(w, d)
		}
	}
	return nil
}

// unsupported says of a device why it is none that can be handed over.
func unsupported(word string, d *laptop.Device) error {
	why := d.Findings[len(d.Findings)-1]
	if why.Remedy != "" {
		return cannot{fmt.Errorf("%s: %s; %s", word, why.Detail, why.Remedy)}
	}
	return cannot{fmt.Errorf("%s: %s", word, why.Detail)}
}

func (p *parts) virtual(m *machine, word string, to *assign.Request) error {
	found, err := m.functions([]string{word})
	if err != nil {
		return err
	}
	v := assign.VFRequest{Physical: found[0], Count: p.vfs, VLANs: p.vlans, SpoofCheck: p.spoof}
	for _, s := range p.macs {
		mac, err := net.ParseMAC(s)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return usageError{fmt.Errorf("--vf-mac %q is not the address of one Ethernet interface, as 02:00:00:00:00:01", s)}
		}
		v.MACs = append(v.MACs, mac)
	}
	for _, n := range p.vlans {
		if n < 0 || n > 4094 {
			return usageError{fmt.Errorf("--vf-vlan %d is not from 0 to 4094", n)}
		}
	}
	to.VFs = append(to.VFs, v)
	return nil
}

func (p *parts) mediated(m *machine, word string, to *assign.Request) error {
	parent := word
	if _, err := fs.Stat(m.fsys, "sys/class/mdev_bus/"+word); err != nil || !fs.ValidPath(word) {
		found, err := m.functions([]string{word})
		if err != nil {
			return err
		}
		parent = found[0].String()
	}
	if p.uuid == "" {
		p.uuid = assign.NewUUID() // and the same when the plan is made again
	}
	uuid, err := assign.ParseUUID(p.uuid)
	if err != nil {
		return usageError{fmt.Errorf("--uuid: %w", err)}
	}
	to.Mediated = append(to.Mediated, assign.MediatedRequest{Parent: parent, Type: p.mdev, UUID: uuid})
	return nil
}

// stepText says what a write does, for a person.
func stepText(w assign.Write) string {
	rest, ok := strings.CutPrefix(w.File, vflink.Root+"/")
	if !ok {
		return fmt.Sprintf("write %q to /%s", w.Value, w.File)
	}
	physical, vf, _ := strings.Cut(rest, "/")
	return fmt.Sprintf("set %s of %s to %s (rtnetlink)", strings.ReplaceAll(vf, "/", " "), physical, w.Value)
}

// writeMade says what a plan makes and which nodes of USB devices a guest opens.
func writeMade(w io.Writer, p *assign.Plan) {
	for _, d := range p.USB {
		fmt.Fprintf(w, "  %s is /%s, with %s\n", d.Path, d.Node, count(len(d.Interfaces), "interface"))
	}
	for _, v := range p.VFs {
		verb := "of the virtual functions that %s has"
		if v.Made {
			verb = "virtual functions that are made of %s"
		}
		fmt.Fprintf(w, "  "+verb+":", v.Physical)
		for _, f := range v.Functions {
			fmt.Fprintf(w, " %s", f.Address)
		}
		fmt.Fprintln(w)
	}
	for _, d := range p.Mediated {
		fmt.Fprintf(w, "  %s is made of %s, type %s\n", d.UUID, d.Parent, d.Type)
	}
}

// leaseWord is a word that names a device of a lease, as the lease names it, or empty: an
// address, a port path, a UUID.
func leaseWord(word string) string {
	if a, err := pci.ParseAddress(strings.TrimPrefix(word, "pci:")); err == nil {
		return a.String()
	}
	if p, err := usb.ParsePortPath(strings.TrimPrefix(word, "usb:")); err == nil {
		return "usb:" + p.String()
	}
	if u, err := assign.ParseUUID(strings.TrimPrefix(word, "mdev:")); err == nil {
		return "mdev:" + u
	}
	return ""
}
