package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/internal/vflink"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
	"github.com/project-independence/indy/vfio"
)

func (e *Env) store() *assign.Store { return &assign.Store{Dir: e.LeaseDir, StateDir: e.StateDir} }

// assignHost is this host, whose kernel is asked about its groups.
func (e *Env) assignHost() *assign.Host {
	h := &assign.Host{
		FS: e.withSettings(), InUse: e.InUse, ResetBus: e.ResetBus,
		Told: func(line string) { e.errorf("%s", line) },
		Waiting: func(l assign.Lease) {
			e.errorf("waiting for another process, which works on the lease of %s (%s)", l.Name(), l.State)
		},
	}
	if _, live := e.Host.(*hostfs.LiveHost); live && e.Broker != nil {
		h.Lend = func(fd int) (hostfs.FS, func([]pci.Address) error, func()) {
			l, back := e.Broker.Lend(fd)
			return vflink.Over(hostfs.LiveWith(l), l), l.ResetBus, back
		}
	}
	if e.Viable != nil {
		h.Viable = func(id iommu.GroupID) error { return nodeFault(e.Host, id, e.Viable(id)) }
	}
	return h
}

func viable(b *broker.Broker) func(iommu.GroupID) error {
	return func(id iommu.GroupID) error {
		err := b.Viable(hostfs.Live(), id)
		if errors.Is(err, vfio.ErrNotViable) {
			err = fmt.Errorf("IOMMU group %s is not viable, see indy groups: %w", id, err)
		}
		return err
	}
}

// inUse says whether somebody has the group open. Who was killed while it reset the
// group's bus has it open for a moment longer.
func inUse(b *broker.Broker) func(iommu.GroupID) error {
	return func(id iommu.GroupID) error {
		err := b.InUse(hostfs.Live(), id)
		for end := time.Now().Add(time.Second); errors.Is(err, syscall.EBUSY) && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
			err = b.InUse(hostfs.Live(), id)
		}
		return err
	}
}

func newAssignCommand(env *Env) *cobra.Command {
	var flags reading
	var req request
	cmd := &cobra.Command{
		Use:   "assign DEVICE...",
		Short: "hand devices over: bind them to vfio-pci, by whole IOMMU groups",
		Long: `Bind devices to vfio-pci so that a guest can have them, and keep how they get back
as a lease. On any error everything is as before. "indy release" gives them back.

` + kindsHelp + `

` + exitHelp,
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeDevices(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			if err := guest.ValidateName(req.guest); err != nil {
				return usageError{err}
			}
			if err := req.confirm.check(cmd); err != nil {
				return err
			}
			l, err := takeOver(ctx, env, &req, args, false)
			if err != nil {
				return err
			}
			if flags.json {
				return writeJSON(env, l)
			}
			writeFindings(env, l.Plan.Findings)
			fmt.Fprintf(env.Stdout, "assigned %s\n", strings.Join(l.Names(), ", "))
			nodes, err := l.Plan.Nodes(env.Host)
			for _, node := range nodes {
				fmt.Fprintf(env.Stdout, "  /%s\n", node)
			}
			req.confirm.tell(env, l)
			return err
		},
	}
	flags.addJSON(cmd)
	req.add(cmd)
	req.parts.add(env, cmd)
	req.confirm.add(cmd)
	env.addDeadline(cmd)
	cmd.Flags().StringVar(&req.guest, "guest", assign.Unnamed, "name of the guest; without one it is never the same guest as another without")
	return cmd
}

// takeOver plans and carries out a hand-over on this host. The machine is read once
// nobody else can have the devices.
func takeOver(ctx context.Context, env *Env, req *request, words []string, run bool) (*assign.Lease, error) {
	devices, claims, err := wanted(env, req, words)
	if err != nil {
		return nil, err
	}
	host, stop := env.assigning()
	defer stop()
	return env.store().Assign(ctx, host, assign.Taking{
		Run: run, Guest: req.guest, Devices: devices, Claims: claims, Confirm: req.confirm.within,
		Plan: func() (*assign.Plan, error) {
			m := req.machine(env, words)
			p, err := req.plan(m, words)
			if err == nil {
				err = m.disksFree(env, p, req)
			}
			if err == nil {
				err = req.confirm.guard(env, p)
			}
			if err != nil {
				return nil, errors.Join(err, m.err)
			}
			return p, nil
		},
	})
}

// machine reads as much of this host as it takes to plan for what words name: of whole
// functions that are named by their addresses, their groups.
func (r *request) machine(env *Env, words []string) *machine {
	var devices []pci.Address
	for _, w := range words {
		a, err := pci.ParseAddress(strings.TrimPrefix(w, "pci:"))
		if err != nil || r.parts.vfs > 0 || r.parts.mdev != "" {
			return readMachine(env, env.Host)
		}
		devices = append(devices, a)
	}
	l, err := laptop.ReadGroups(env.Host, devices)
	return machineOf(env, env.Host, l, err)
}

// wanted returns the functions that words name, and the claims of their groups and of
// USB devices. The machine is read only for words that are neither address nor port path.
// What is made has no claims yet: the plan says them.
func wanted(env *Env, req *request, words []string) (devices []pci.Address, claims []assign.Claim, err error) {
	if err := req.parts.check(words); err != nil || req.parts.mdev != "" {
		return nil, nil, err
	}
	if req.parts.vfs > 0 {
		a, err := pci.ParseAddress(strings.TrimPrefix(words[0], "pci:"))
		if err != nil {
			found, err := readMachine(env, env.Host).functions(words)
			if err != nil {
				return nil, nil, err
			}
			a = found[0]
		}
		return nil, []assign.Claim{assign.Under(assign.VFClaim(a))}, nil // all of them if the plan makes them
	}
	to := assign.Request{}
	for _, w := range words {
		a, err := pci.ParseAddress(strings.TrimPrefix(w, "pci:"))
		if err == nil {
			to.Devices = append(to.Devices, a)
			continue
		}
		p, err := usb.ParsePortPath(strings.TrimPrefix(w, "usb:"))
		if err == nil {
			to.USB = append(to.USB, p)
			continue
		}
		to = assign.Request{}
		if err := req.parts.name(readMachine(env, env.Host), words, &to); err != nil {
			return nil, nil, err
		}
		break
	}
	devices = to.Devices
	for _, p := range to.USB {
		claims = append(claims, assign.USBClaim(p))
	}
	for _, a := range devices {
		name, err := hostfs.ReadLinkBase(env.Host, "sys/bus/pci/devices/"+a.String()+"/iommu_group")
		g, gerr := pci.ParseGroupID(name)
		if err != nil || gerr != nil {
			return devices, nil, nil // the plan says what is wrong with it
		}
		if c := assign.GroupClaim(g); !slices.Contains(claims, c) {
			claims = append(claims, c)
		}
	}
	return devices, claims, nil
}

// disksFree refuses a plan that takes a disk which something uses, whatever the mount
// table says: other mount namespaces, open mappings and guests do not show there.
func (m *machine) disksFree(env *Env, p *assign.Plan, req *request) error {
	if env.DiskFree == nil || slices.Contains(req.allow, string(laptop.HostDisk)) {
		return nil
	}
	var findings []laptop.Finding
	for i := range m.Devices {
		d := &m.Devices[i]
		// A USB disk goes where its controller goes.
		taken := d.PCI != nil && d.Role() == laptop.Storage && slices.Contains(p.Devices, d.PCI.Address) ||
			d.USB != nil && (slices.Contains(p.Devices, d.USB.Controller) ||
				slices.ContainsFunc(p.USB, func(u assign.USBDevice) bool { return u.Path == d.USB.Path }))
		for _, c := range d.Classes {
			if !taken || c.Class != "block" || c.Node == "" { // no other node has a file system on it
				continue
			}
			if err := env.DiskFree(c.Node); err != nil {
				findings = append(findings, laptop.Finding{
					Code: laptop.HostDisk, Severity: laptop.Block, Device: d.ID(),
					Detail: fmt.Sprintf("/%s is in use: %v", c.Node, err), Evidence: "/" + c.Node,
					Remedy: "unmount it, close what maps it, or stop the guest that has it",
				})
			}
		}
	}
	if len(findings) > 0 {
		return &assign.RefusedError{Devices: p.Devices, Others: p.Names()[len(p.Devices):], Findings: findings}
	}
	return nil
}

// current reports whether a lease was taken on the kernel that runs now.
func (m *machine) current(l *assign.Lease) bool {
	boot, err := bootID(m.fsys)
	return err != nil || l.BootID == boot
}

func writeFindings(env *Env, findings []laptop.Finding) {
	for _, f := range alike(findings) {
		fmt.Fprintf(env.Stderr, "%s: %s: %s\n", f.Severity, f.Code, printable(f.Detail))
	}
}

func newReleaseCommand(env *Env) *cobra.Command {
	var flags reading
	var all bool
	cmd := &cobra.Command{
		Use:   "release DEVICE...",
		Short: "take devices back and give them to their drivers",
		Long: `Give back the leases that hold the devices, each lease whole: the driver override as
it was, and the driver that had each function or interface. What was made for the guest
is taken away again. It may be run again after a failure.

` + exitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usageError{errors.New("name the devices, or --all")}
			}
			return nil
		},
		ValidArgsFunction: completeLeased(env),
		RunE: func(_ *cobra.Command, args []string) error {
			devices, err := releasing(env, args)
			if len(devices) == 0 && err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			released := []string{}
			errs := []error{err}
			for _, name := range devices {
				l, err := env.store().ReleaseNamed(ctx, env.assignHost(), name)
				switch {
				case errors.Is(err, assign.ErrNotHeld) && slices.Contains(released, name):
					// went with another device of its lease
				case err != nil:
					errs = append(errs, err)
				default:
					released = append(released, l.Names()...)
				}
			}
			if flags.json {
				if err := writeJSON(env, map[string][]string{"released": released}); err != nil {
					return err
				}
			} else if len(released) > 0 {
				fmt.Fprintf(env.Stdout, "released %s\n", strings.Join(released, ", "))
			} else if all && errors.Join(errs...) == nil {
				fmt.Fprintln(env.Stdout, "no device is handed out")
			}
			return errors.Join(errs...)
		},
	}
	flags.addJSON(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every lease")
	env.addDeadline(cmd)
	return cmd
}
