package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// indyVariable names the indy that the tests inside use.
const indyVariable = "INDY_LAB_INDY"

// A goods is what changes hands as one: functions that a person names, with all of their
// group that does not stay, and what their drivers make of them.
type goods struct {
	name    string
	drivers map[string]string // by address
	made    []string          // patterns of names, of which each has a file
}

func nvmeDisk() goods {
	return goods{"nvme", map[string]string{"0000:02:00.0": "nvme"}, []string{"/sys/block/nvme*n1"}}
}

func network() goods {
	return goods{"e1000e", map[string]string{"0000:01:00.0": "e1000e"}, []string{"/sys/bus/pci/devices/0000:01:00.0/net/*"}}
}

func trio() goods {
	return goods{
		"group of three", map[string]string{"0000:04:01.0": "e1000", "0000:04:02.0": "snd_hda_intel"},
		[]string{"/sys/bus/pci/devices/0000:04:01.0/net/*", "/sys/bus/pci/devices/0000:04:02.0/sound/card*"},
	}
}

func igb() goods {
	return goods{"igb", map[string]string{"0000:05:00.0": "igb"}, []string{"/sys/bus/pci/devices/0000:05:00.0/net/*"}}
}

func (g goods) addresses() []string {
	var all []string
	for a := range g.drivers {
		all = append(all, a)
	}
	slices.Sort(all)
	return all
}

func (g goods) group() (iommu.GroupID, error) {
	name, err := hostfs.ReadLinkBase(hostfs.Live(), pciDevice(g.addresses()[0])+"/iommu_group")
	if err != nil {
		return iommu.GroupID{}, err
	}
	return pci.ParseGroupID(name)
}

func pciDevice(address string) string { return "sys/bus/pci/devices/" + address }

// holding returns the driver and the override of a function, empty where it has none.
func holding(address string) (driver, override string, err error) {
	driver, err = hostfs.ReadLinkBase(hostfs.Live(), pciDevice(address)+"/driver")
	if errors.Is(err, fs.ErrNotExist) {
		_, err = fs.Lstat(hostfs.Live(), pciDevice(address))
	}
	if err != nil {
		return "", "", err
	}
	override, err = hostfs.ReadString(hostfs.Live(), pciDevice(address)+"/driver_override")
	if override == "(null)" {
		override = ""
	}
	return driver, override, err
}

// withHost says how what the kernel shows differs from all functions with their own
// drivers, none overridden, no node of their group, and what the drivers make in place.
func (g goods) withHost() error {
	var errs []error
	for a, want := range g.drivers {
		if driver, override, err := holding(a); driver != want || override != "" || err != nil {
			errs = append(errs, fmt.Errorf("%s has driver %q, override %q, %v; want %s and none", a, driver, override, err, want))
		}
	}
	group, err := g.group()
	if err != nil {
		errs = append(errs, err)
	} else if _, err := os.Lstat("/dev/vfio/" + group.String()); err == nil {
		errs = append(errs, fmt.Errorf("there is a node of group %s", group))
	}
	for _, p := range g.made {
		if found, _ := filepath.Glob(p); len(found) == 0 {
			errs = append(errs, fmt.Errorf("there is no %s", p))
		}
	}
	return errors.Join(errs...)
}

// withGuest says how what the kernel shows differs from all functions with vfio-pci and a
// group that a guest can use, which is seen by opening it.
func (g goods) withGuest() error {
	var errs []error
	for a := range g.drivers {
		if driver, override, err := holding(a); driver != "vfio-pci" || override != "vfio-pci" || err != nil {
			errs = append(errs, fmt.Errorf("%s has driver %q, override %q, %v; want vfio-pci", a, driver, override, err))
		}
	}
	return errors.Join(append(errs, g.viable())...)
}

func (g goods) viable() error {
	id, err := g.group()
	if err != nil {
		return err
	}
	return vfio.Viable(id)
}

// soon waits until check holds, at most ten seconds.
func soon(check func() error) error {
	var err error
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if err = check(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// needIndy is the command under test.
func needIndy(t *testing.T) string {
	t.Helper()
	indy := os.Getenv(indyVariable)
	if indy == "" {
		t.Fatal("no " + indyVariable)
	}
	return indy
}

// call runs a program to its end, at most a minute, and returns what it printed and its
// exit status.
func call(t *testing.T, program string, args ...string) (said string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	return string(out), status
}
