package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/picture"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// pictures are the flags of a picture of the groups.
type pictures struct {
	svg, dot string
	given    func(flag string) bool
}

func (p *pictures) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.svg, "svg", "", "draw the functions and their groups as SVG into this file, - for standard output")
	cmd.Flags().StringVar(&p.dot, "dot", "", "write them for graphviz into this file, - for standard output")
	p.given = cmd.Flags().Changed
}

// wanted reports whether a picture is asked for, in place of the list. The error is
// about the flags.
func (p *pictures) wanted(json bool) (bool, error) {
	svg, dot := p.given("svg"), p.given("dot")
	switch {
	case !svg && !dot:
		return false, nil
	case json:
		return false, usageError{errors.New("--json lists the groups, --svg and --dot draw them: give one of these")}
	case svg && p.svg == "" || dot && p.dot == "":
		return false, usageError{errors.New("--svg and --dot take a file, or - for standard output")}
	case svg && dot && p.svg == p.dot:
		return false, usageError{fmt.Errorf("--svg and --dot both name %s", p.svg)}
	}
	return true, nil
}

// write draws a machine into the files asked for.
func (p *pictures) write(env *Env, m *machine, s *sharing) error {
	for _, file := range []string{p.svg, p.dot} {
		if file == "" || file == "-" {
			continue
		}
		if err := drawnOver(file); err != nil {
			return err // before the other is written
		}
	}
	drawn := m.picture(s)
	for _, to := range []struct {
		flag, file string
		draw       func(picture.Picture) []byte
	}{{"svg", p.svg, picture.SVG}, {"dot", p.dot, picture.DOT}} {
		if !p.given(to.flag) {
			continue
		}
		data := to.draw(drawn)
		if to.file == "-" {
			if _, err := env.Stdout.Write(data); err != nil {
				return err
			}
			continue
		}
		if err := savePicture(to.file, data); err != nil {
			return err
		}
		if p.svg != "-" && p.dot != "-" {
			fmt.Fprintf(env.Stdout, "drawn as %s\n", to.file)
		}
	}
	return nil
}

// savePicture writes a file as a whole.
func savePicture(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// drawnOver returns why a file may not be replaced by a picture: an older one of ours
// is, any other file is left alone.
func drawnOver(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s: is a link; name the file itself: %w", path, fs.ErrExist)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s: is no file; name one: %w", path, fs.ErrExist)
	case st.Size() == 0:
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 128)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !picture.Ours(head[:n]) {
		return fmt.Errorf("%s: is no picture of ours; remove it or give another name: %w", path, fs.ErrExist)
	}
	return nil
}

// picture returns the machine as it is drawn.
func (m *machine) picture(s *sharing) picture.Picture {
	p := picture.Picture{Facts: []string{iommuLine(m.Laptop)}}
	id, err := laptop.ReadIdentity(m.fsys)
	m.err = errors.Join(m.err, err)
	p.Title = or(id.String(), "A machine that does not say what it is")
	if kernel, err := hostfs.ReadString(m.fsys, "proc/sys/kernel/osrelease"); err == nil && kernel != "" {
		p.Facts = append(p.Facts, "Linux "+kernel)
	}
	n := 0
	for i := range m.Devices {
		if m.Devices[i].PCI != nil {
			n++
		}
	}
	p.Facts = append(p.Facts, count(n, "PCI function"))
	if !m.IOMMU.Enabled {
		p.Warning, p.Badge = m.noGroups()
	}
	said := map[pci.Address][]string{}
	if m.IOMMU.Enabled {
		p.Marks, said = s.marks(m.Groups), s.said(m.Groups)
		if gap := s.gap(m); gap != "" {
			p.Remarks = []string{gap}
		}
		if s.override != "" {
			p.Warning = []string{"The command line of the kernel has " + s.override + ", which parts groups without isolating them."}
			p.Badge = picture.Unknown
		}
	}
	p.Buses = m.buses(said)
	return p
}

// noGroups says why there are no areas in a picture.
func (m *machine) noGroups() ([]string, picture.Verdict) {
	if m.IOMMU.Unstated {
		return []string{"Which IOMMU groups there are is not stated: what could be handed over is not known."}, picture.Unknown
	}
	said := []string{"No IOMMU is at work: nothing keeps one device from the memory of another, and none can be handed to a guest."}
	for i := range m.Devices {
		for _, f := range m.Devices[i].Findings {
			if f.Code == laptop.NoIOMMU && f.Remedy != "" {
				return append(said, "Remedy: "+f.Remedy), picture.Refused
			}
		}
	}
	return said, picture.Refused
}

// buses returns the functions of a machine below the root buses, with what is said of
// each besides its findings, and what else is in groups.
func (m *machine) buses(said map[pci.Address][]string) []picture.Bus {
	behind := map[pci.Address][]*laptop.Device{}
	type root struct {
		domain uint32
		bus    uint8
	}
	var roots []root
	onRoot := map[root][]*laptop.Device{}
	for i := range m.Devices {
		d := &m.Devices[i]
		if d.PCI == nil {
			continue
		}
		a := d.PCI.Address
		// Without a link, as in some saved machines, nobody says what it is behind.
		if bridges, err := pci.Bridges(m.fsys, a); err == nil && len(bridges) > 0 {
			if above := bridges[len(bridges)-1]; m.Function(above) != nil {
				behind[above] = append(behind[above], d)
				continue
			}
		}
		r := root{a.Domain(), a.Bus()}
		if onRoot[r] == nil {
			roots = append(roots, r)
		}
		onRoot[r] = append(onRoot[r], d)
	}
	var node func(d *laptop.Device) picture.Node
	nodes := func(all []*laptop.Device) []picture.Node {
		out := make([]picture.Node, 0, len(all))
		for _, d := range all {
			out = append(out, node(d))
		}
		return out
	}
	drawn := map[iommu.GroupID]bool{}
	node = func(d *laptop.Device) picture.Node {
		n := m.node(d)
		n.Details = append(n.Details, said[d.PCI.Address]...)
		drawn[d.Group()] = true
		n.Below = nodes(behind[d.PCI.Address])
		return n
	}
	var buses []picture.Bus
	for _, r := range roots {
		buses = append(buses, picture.Bus{Name: fmt.Sprintf("PCI bus %04x:%02x", r.domain, r.bus), Below: nodes(onRoot[r])})
	}
	if others := m.elsewhere(drawn); len(others) > 0 {
		buses = append(buses, picture.Bus{Name: "in groups, and on no PCI bus", Below: others})
	}
	return buses
}

// elsewhere returns what is in groups and is no function of the machine.
func (m *machine) elsewhere(drawn map[iommu.GroupID]bool) []picture.Node {
	var nodes []picture.Node
	for i := range m.Groups {
		g := &m.Groups[i]
		for _, a := range g.Devices {
			if m.Function(a) == nil {
				nodes = append(nodes, picture.Node{ID: a.String(), Group: g.ID.String(), Name: "listed by the group, but not there"})
				drawn[g.ID] = true
			}
		}
		for _, other := range g.Others {
			nodes = append(nodes, picture.Node{ID: other, Group: g.ID.String(), Name: "on no PCI bus"})
			drawn[g.ID] = true
		}
		if !drawn[g.ID] {
			nodes = append(nodes, picture.Node{ID: "group " + g.ID.String(), Group: g.ID.String(), Name: "no member of its own is known"})
		}
	}
	return nodes
}

// node returns a function as it is drawn.
func (m *machine) node(d *laptop.Device) picture.Node {
	n := picture.Node{
		ID: d.PCI.Address.String(), Bridge: d.Role() == laptop.BridgeRole,
		Role: joinRoles(d.Roles), Name: m.names.Name(d), Driver: d.Driver(),
	}
	if d.Group().IsValid() {
		n.Group = d.Group().String()
	}
	n.Verdict, n.Reason = m.badge(d)
	for _, f := range d.Findings {
		n.Details = append(n.Details, string(f.Code)+": "+f.Detail)
	}
	for _, c := range m.Carried(d.PCI.Address) {
		// Without its maker the name is shorter, and says as much here.
		_, name := m.names.VendorDevice(c)
		n.Carries = append(n.Carries, c.Where()+" "+joinRoles(c.Roles)+" "+or(name, m.names.Name(c)))
	}
	return n
}

// badge returns the verdict on a function, and the reasons that are not plain.
func (m *machine) badge(d *laptop.Device) (picture.Verdict, string) {
	if laptop.StaysWithHost(*d.PCI) {
		return picture.Stays, ""
	}
	v := map[laptop.Verdict]picture.Verdict{
		laptop.Assignable: picture.Assignable, laptop.WithCompanions: picture.WithCompanions,
		laptop.ShareOnly: picture.ShareOnly, laptop.Refused: picture.Refused, laptop.Undecided: picture.Unknown,
	}[d.Verdict]
	if v != picture.Refused && v != picture.Unknown {
		return v, ""
	}
	reason := shortVerdict(d)
	if !m.IOMMU.Enabled && reason == "refused: no-iommu" {
		return v, "" // that is said once, of the machine
	}
	return v, reason
}
