package laptop_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A drawn is one device of a machine that is drawn: what it is, and where, without numbers.
type drawn struct {
	usb        bool
	role       laptop.Role
	class      string
	ids        pci.ID
	verdict    laptop.Verdict
	group      int // of functions that change hands as one
	builtIn    iommu.Answer
	integrated gpu.Answer
}

func draw(t *rapid.T) []drawn {
	all := []drawn{{role: laptop.USBController, class: "0c0330", ids: pci.NewID(1), verdict: laptop.Assignable, builtIn: iommu.Yes}}
	for range rapid.IntRange(0, 8).Draw(t, "devices") {
		d := drawn{
			ids:     pci.NewID(rapid.Uint16Range(1, 2).Draw(t, "ids")),
			verdict: rapid.SampledFrom([]laptop.Verdict{laptop.Assignable, laptop.Assignable, laptop.Undecided, laptop.Refused}).Draw(t, "verdict"),
			group:   rapid.IntRange(0, 3).Draw(t, "group"),
			builtIn: rapid.SampledFrom([]iommu.Answer{iommu.Unknown, iommu.No, iommu.Yes}).Draw(t, "built in"),
		}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			d.role, d.class, d.builtIn = laptop.GPU, "030000", iommu.Yes
			d.integrated = rapid.SampledFrom([]gpu.Answer{gpu.Unknown, gpu.No, gpu.Yes}).Draw(t, "integrated")
		case 1:
			d.role, d.class, d.builtIn = laptop.Ethernet, "020000", iommu.Yes
		case 2:
			d.usb, d.role = true, laptop.Webcam
		default:
			d.usb, d.role = true, laptop.Storage
		}
		all = append(all, d)
	}
	for i := range all { // a group has one verdict
		for _, d := range all {
			if !all[i].usb && !d.usb && d.group == all[i].group && d.verdict == laptop.Refused {
				all[i].verdict = laptop.Refused
			}
		}
	}
	return all
}

// withNumbers makes a machine of what was drawn. The numbers of buses, groups and USB
// buses are those given; ids are the machine's by the index of what was drawn.
func withNumbers(t *rapid.T, all []drawn, numbers []int) (l *laptop.Laptop, at laptop.Places, ids []string) {
	l = new(laptop.Laptop)
	type one struct {
		laptop.Device
		at laptop.Place
	}
	var list []one
	members := map[pci.GroupID][]pci.Address{}
	address := func(i int) pci.Address { return pci.NewAddress(0, uint8(numbers[i]), 0, 0) }
	for i, d := range all {
		o := one{Device: laptop.Device{Roles: []laptop.Role{d.role}, Verdict: d.verdict}}
		o.at = laptop.Place{BuiltIn: d.builtIn, Integrated: gpu.Conclusion{Answer: d.integrated}}
		if d.verdict != laptop.Assignable {
			severity := laptop.Gap
			if d.verdict == laptop.Refused {
				severity = laptop.Block
			}
			o.Findings = []laptop.Finding{{Code: laptop.HostDisk, Severity: severity, Detail: "drawn so"}}
		}
		if d.usb {
			path, err := usb.ParsePortPath(fmt.Sprintf("%d-%d", numbers[0]+1, i+1))
			if err != nil {
				t.Fatal(err)
			}
			o.USB = &usb.Device{Path: path, Vendor: d.ids, Product: d.ids, Controller: address(0)}
		} else {
			class, err := pci.ParseClass(d.class)
			if err != nil {
				t.Fatal(err)
			}
			g := pci.NewGroupID(uint32(numbers[len(all)+d.group]))
			o.PCI = &pci.Function{Address: address(i), Class: class, Vendor: d.ids, Device: d.ids, Group: g}
			members[g] = append(members[g], o.PCI.Address)
		}
		o.at.Identity = laptop.Identity{ID: o.ID(), Role: d.role, Evidence: []laptop.Evidence{{Kind: laptop.ByTopology, Value: fmt.Sprintf("pci0000:00/%02x.0", i)}}}
		list, ids = append(list, o), append(ids, o.ID())
	}
	slices.SortFunc(list, func(a, b one) int {
		if a.PCI == nil || b.PCI == nil {
			return cmp.Compare(len(a.Bus()+a.Where()), len(b.Bus()+b.Where()))
		}
		return a.PCI.Address.Compare(b.PCI.Address)
	})
	slices.SortStableFunc(list, func(a, b one) int { return strings.Compare(a.Bus(), b.Bus()) })
	for _, o := range list {
		l.Devices, at.Devices = append(l.Devices, o.Device), append(at.Devices, o.at)
	}
	for g, devices := range members {
		slices.SortFunc(devices, pci.Address.Compare)
		l.Groups = append(l.Groups, iommu.Group{ID: g, Devices: devices, Known: true})
	}
	slices.SortFunc(l.Groups, func(a, b iommu.Group) int { return a.ID.Compare(b.ID) })
	return l, at, ids
}

// newNumbers draws numbers for the buses and groups of a machine.
func newNumbers(t *rapid.T, n int) []int {
	all := make([]int, 60)
	for i := range all {
		all[i] = i + 1
	}
	return rapid.Permutation(all).Draw(t, "numbers")[:n+4]
}

func drawNeeds(t *rapid.T) []laptop.Wanted {
	var needs []laptop.Wanted
	for range rapid.IntRange(0, 6).Draw(t, "needs") {
		n := guest.Need{
			Want:     rapid.SampledFrom([]guest.Want{guest.WantGPU, guest.WantEthernet, guest.WantWebcam, guest.WantWebcam, guest.WantStorage, guest.WantUSBController}).Draw(t, "want"),
			How:      rapid.SampledFrom([]guest.How{guest.Assign, guest.Assign, guest.Share}).Draw(t, "how"),
			Optional: rapid.Bool().Draw(t, "optional"),
		}
		switch rapid.IntRange(0, 4).Draw(t, "word") {
		case 0:
			n.Which = guest.BuiltIn
		case 1:
			n.Which = guest.External
		case 2:
			n.IDs = guest.IDs{Vendor: pci.NewID(1)}
		case 3:
			if n.Want == guest.WantGPU {
				n.Which = guest.Discrete
			}
		}
		needs = append(needs, laptop.Wanted{Need: n})
	}
	return needs
}

// outcome is what became of a need, with the devices as indices of what was drawn.
func outcome(n laptop.ResolvedNeed, ids []string) string {
	s := fmt.Sprint(n.Need, n.How, n.Optional, " ", n.State)
	for _, id := range n.Devices {
		s += fmt.Sprint(" ", slices.Index(ids, id))
	}
	return s
}

func outcomesOf(all laptop.Resolution, ids []string) []string {
	var s []string
	for _, n := range all {
		s = append(s, outcome(n, ids))
	}
	slices.Sort(s)
	return s
}

func TestResolveProperties(t *testing.T) {
	states := map[laptop.NeedState]int{}
	rapid.Check(t, func(rt *rapid.T) {
		devices, needs := draw(rt), drawNeeds(rt)
		l, at, ids := withNumbers(rt, devices, newNumbers(rt, len(devices)))
		all := laptop.Resolve(l, at, needs)
		checkResolution(t, l, all)
		for _, n := range all {
			states[n.State]++
		}
		// The order of the needs does not matter: those that are the same in every word
		// may change places.
		permuted := laptop.Resolve(l, at, rapid.Permutation(needs).Draw(rt, "order"))
		if diff := gocmp.Diff(outcomesOf(all, ids), outcomesOf(permuted, ids)); diff != "" {
			rt.Errorf("in another order: %s", diff)
		}
		// Nor do the numbers that the kernel gives.
		l2, at2, ids2 := withNumbers(rt, devices, newNumbers(rt, len(devices)))
		if diff := gocmp.Diff(outcomesOf(all, ids), outcomesOf(laptop.Resolve(l2, at2, needs), ids2)); diff != "" {
			rt.Errorf("with other numbers: %s", diff)
		}
		// A guest that starts without its optional needs starts with them.
		required := slices.DeleteFunc(slices.Clone(needs), func(n laptop.Wanted) bool { return n.Optional })
		if err := laptop.Resolve(l, at, required).Startable(); err == nil && all.Startable() != nil {
			rt.Errorf("for want of what is optional: %v", all.Startable())
		}
		if t.Failed() {
			rt.Fatalf("%+v", all)
		}
	})
	t.Log(states)
}
