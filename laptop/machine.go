package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jaypipes/ghw"

	"github.com/project-independence/indy/hostfs"
)

// A Machine is what a laptop is as a whole. A field that the machine does not state
// is empty or 0.
type Machine struct {
	Vendor  string `json:"vendor"`  // /sys/class/dmi/id/sys_vendor
	Product string `json:"product"` // product_name
	Version string `json:"version"` // product_version
	Family  string `json:"family"`  // product_family
	Board   string `json:"board"`   // board_vendor and board_name
	BIOS    string `json:"bios"`    // bios_vendor, bios_version and bios_date
	CPU     string `json:"cpu"`     // model, from /proc/cpuinfo
	Threads int    `json:"threads"` // hardware threads
	Memory  int64  `json:"memory"`  // physical memory in bytes
}

// String names the machine for a person, as "LENOVO ThinkPad X1 Carbon Gen 10". It
// is empty when nothing is known.
func (m Machine) String() string {
	name := m.Product
	// Lenovo puts a type number into the product and the name into the version.
	if strings.HasPrefix(m.Vendor, "LENOVO") && m.Version != "" {
		name = m.Version
	}
	return strings.TrimSpace(m.Vendor + " " + name)
}

// ReadIdentity reads what is written on the machine, below /sys/class/dmi/id: vendor,
// product, board and firmware. It returns what could be read, and an error that joins
// what could not; what only root may read, and what the firmware does not state, is
// empty and no error.
func ReadIdentity(fsys fs.FS) (Machine, error) {
	var m Machine
	var errs []error
	read := func(attribute string) string {
		s, err := hostfs.ReadString(fsys, "sys/class/dmi/id/"+attribute)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			errs = append(errs, err)
		}
		return known(s)
	}
	m.Vendor, m.Product = read("sys_vendor"), read("product_name")
	m.Version, m.Family = read("product_version"), read("product_family")
	m.Board = join(read("board_vendor"), read("board_name"))
	m.BIOS = join(read("bios_vendor"), read("bios_version"), read("bios_date"))
	if len(errs) > 0 {
		return m, fmt.Errorf("read machine: %w", errors.Join(errs...))
	}
	return m, nil
}

// ReadMachine reads what [ReadIdentity] does, and processors and memory, which
// takes some milliseconds more.
//
// It asks ghw, which reads directories: the running host as it is, a saved machine
// through a copy of the few files it takes.
func ReadMachine(fsys fs.FS) (m Machine, err error) {
	m, err = ReadIdentity(fsys)
	root := "/"
	if _, live := fsys.(*hostfs.LiveHost); !live {
		dir, e := os.MkdirTemp("", "indy-machine-")
		if e != nil {
			return m, errors.Join(err, fmt.Errorf("read machine: %w", e))
		}
		root = dir
		defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
		if e := copyMachine(fsys, root); e != nil {
			err = errors.Join(err, fmt.Errorf("read machine: %w", e))
		}
	}
	host := []any{ghw.WithChroot(root), ghw.WithDisableWarnings()}
	ask := func(what string, f func()) {
		// Some of ghw's parsers panic at what a saved machine may hold.
		defer func() {
			if p := recover(); p != nil {
				err = errors.Join(err, fmt.Errorf("read machine: %s is not as the kernel writes it: %v", what, p))
			}
		}()
		f()
	}
	ask("/proc/cpuinfo", func() {
		if c, e := ghw.CPU(host...); e == nil {
			m.Threads = int(c.TotalHardwareThreads)
			for _, p := range c.Processors {
				m.CPU = known(p.Model)
			}
		}
	})
	ask("/proc/meminfo", func() {
		if mem, e := ghw.Memory(host...); e == nil {
			m.Memory = max(mem.TotalPhysicalBytes, mem.TotalUsableBytes, 0)
		}
	})
	return m, err
}

// known drops the word for what is not known.
func known(s string) string {
	if s == "unknown" {
		return ""
	}
	return strings.TrimSpace(oneLine(s))
}

func join(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p = known(p); p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, " ")
}

// copyMachine copies below root what ghw reads of processors and memory.
func copyMachine(fsys fs.FS, root string) error {
	const system = "sys/devices/system/"
	names := []string{"proc/cpuinfo", "proc/meminfo", system + "memory/block_size_bytes"}
	var errs []error
	for kind, files := range map[string][]string{
		"cpu":    {"online", "topology/physical_package_id", "topology/core_id"},
		"memory": {"state"},
	} {
		entries, err := fs.ReadDir(fsys, system+kind)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			n, ok := strings.CutPrefix(e.Name(), kind)
			if !ok || n == "" || strings.Trim(n, "0123456789") != "" {
				continue
			}
			for _, f := range files {
				names = append(names, system+kind+"/"+e.Name()+"/"+f)
			}
		}
	}
	for _, name := range names {
		if err := copyFile(fsys, name, root); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// copyFile copies one file below root, and leaves out one that is missing or that
// only root may read.
func copyFile(fsys fs.FS, name, root string) error {
	data, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	to := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}
