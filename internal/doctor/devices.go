package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

const devicesDir = "/sys/bus/pci/devices"

func (x *examination) devices() Check {
	n := map[laptop.Verdict]int{}
	all := 0
	for i := range x.l.Devices {
		d := &x.l.Devices[i]
		if d.PCI == nil || laptop.StaysWithHost(*d.PCI) {
			continue
		}
		all++
		n[d.Verdict]++
	}
	if all == 0 {
		return unknown(devicesDir, "no PCI function is stated that could be handed over")
	}
	var parts []string
	for _, p := range []struct {
		n    int
		text string
	}{
		{n[laptop.Assignable], "can go to a guest alone"}, {n[laptop.WithCompanions], "together with others of the same group"},
		{n[laptop.Refused], "cannot go to a guest"}, {n[laptop.Undecided], "are not decided, for want of what is not known"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprint(p.n, " ", p.text))
		}
	}
	detail := "of " + plural(all, "function") + " " + strings.Join(parts, ", ")
	if n[laptop.Assignable]+n[laptop.WithCompanions] > 0 {
		return ok(devicesDir, "%s", detail)
	}
	if n[laptop.Undecided] > 0 {
		return unknown(devicesDir, "%s", detail)
	}
	return warning(devicesDir, "see indy devices, and indy why DEVICE", "%s", detail)
}

// bootDisplay: with one GPU the host has no screen while a guest has it.
func (x *examination) bootDisplay() Check {
	var gpus []*laptop.Device
	boot := ""
	for i := range x.l.Devices {
		d := &x.l.Devices[i]
		if d.PCI == nil || d.Display == nil {
			continue
		}
		gpus = append(gpus, d)
		if d.Display.BootVGA == gpu.Yes {
			boot = d.Where()
		}
	}
	switch {
	case len(gpus) == 0:
		return ok(devicesDir, "there is no GPU")
	case len(gpus) == 1:
		return warning(devicesDir+"/"+gpus[0].Where(), "share it with guests, or keep it; handing it over is for machines that are reached over the network",
			"%s is the only GPU: the host has no screen while a guest has it", gpus[0].Where())
	case boot == "":
		return unknown(devicesDir, "%s; which of them the firmware started on is not stated", plural(len(gpus), "GPU"))
	}
	return ok(devicesDir+"/"+boot+"/boot_vga", "%s; the firmware started on %s, which stays with the host", plural(len(gpus), "GPU"), boot)
}

// leftovers: overrides that nobody has on record keep a device from its driver, and
// leases of guests that are gone keep devices from all.
func (x *examination) leftovers() Check {
	held := map[pci.Address]bool{}
	boot, _ := hostfs.ReadString(x.machine, "proc/sys/kernel/random/boot_id")
	for _, l := range x.o.Leases {
		if l.BootID != "" && boot != "" && l.BootID != boot {
			continue // this kernel knows nothing of it
		}
		for _, a := range l.Devices {
			held[a] = true
		}
		if l.Interrupted(x.machine) || l.Abandoned(x.machine) || l.State == assign.Stuck {
			return warning("/run/indy/leases", "run: indy release "+l.Name(), "guest %s has gone and left %s; the lease is %s", l.Guest, l.Name(), l.State)
		}
	}
	asked, stated := 0, 0
	var left []string
	var first pci.Address
	for i := range x.l.Devices {
		f := x.l.Devices[i].PCI
		if f == nil {
			continue
		}
		asked++
		override, err := pci.DriverOverride(x.machine, f.Address)
		if err == nil {
			stated++
		} else if !errors.Is(err, fs.ErrNotExist) {
			return unstated(devicesDir+"/"+f.Address.String()+"/driver_override", err)
		}
		if override != "" && !held[f.Address] {
			if left == nil {
				first = f.Address
			}
			left = append(left, f.Address.String()+" ("+override+")")
		}
	}
	const file = devicesDir + "/*/driver_override"
	switch {
	case asked == 0 || stated == 0:
		return unstated(file, nil)
	case len(left) > 0 && x.o.LeasesKnown:
		return warning(file, "unless another program put it there: echo > "+devicesDir+"/"+first.String()+"/driver_override",
			"%s bound by an override that is in no lease: no other driver takes it", are(left))
	case len(left) > 0:
		return ok(file, "%s bound by an override", are(left))
	}
	return ok(file, "no override and no lease is left over")
}

func are(words []string) string {
	const most = 8
	more := ""
	if len(words) > most {
		more = fmt.Sprintf(" (and %d more)", len(words)-most)
		words = words[:most]
	}
	if len(words) == 1 {
		return words[0] + " is"
	}
	return list(words) + more + " are"
}
