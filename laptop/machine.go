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

// ReadIdentity reads what is written on the machine: vendor, product, board and
// firmware. It returns what could be read, and an error that joins what could not.
func ReadIdentity(fsys fs.FS) (Machine, error) { return readMachine(fsys, false) }

// ReadMachine reads what [ReadIdentity] does, and processors and memory, which
// takes some milliseconds more.
func ReadMachine(fsys fs.FS) (Machine, error) { return readMachine(fsys, true) }

// readMachine asks ghw, which reads directories: the running host as it is, a saved
// machine through a copy of the few files it takes.
func readMachine(fsys fs.FS, resources bool) (m Machine, err error) {
	root := "/"
	if _, live := fsys.(*hostfs.LiveHost); !live {
		if root, err = os.MkdirTemp("", "indy-machine-"); err != nil {
			return m, fmt.Errorf("read machine: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
		if e := copyMachine(fsys, root, resources); e != nil {
			err = fmt.Errorf("read machine: %w", e)
		}
	}
	host := []any{ghw.WithChroot(root), ghw.WithDisableWarnings()}
	if p, err := ghw.Product(host...); err == nil {
		m.Vendor, m.Product, m.Version, m.Family = known(p.Vendor), known(p.Name), known(p.Version), known(p.Family)
	}
	if b, err := ghw.Baseboard(host...); err == nil {
		m.Board = join(b.Vendor, b.Product)
	}
	if b, err := ghw.BIOS(host...); err == nil {
		m.BIOS = join(b.Vendor, b.Version, b.Date)
	}
	if !resources {
		return m, err
	}
	if c, err := ghw.CPU(host...); err == nil {
		m.Threads = int(c.TotalHardwareThreads)
		for _, p := range c.Processors {
			m.CPU = known(p.Model)
		}
	}
	if mem, err := ghw.Memory(host...); err == nil {
		m.Memory = max(mem.TotalPhysicalBytes, mem.TotalUsableBytes, 0)
	}
	return m, err
}

// known drops ghw's word for what it could not read.
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

// copyMachine copies below root what ghw reads.
func copyMachine(fsys fs.FS, root string, resources bool) error {
	var names []string
	var errs []error
	for _, attribute := range []string{
		"sys_vendor", "product_name", "product_version", "product_family", "product_sku",
		"board_vendor", "board_name", "board_version", "bios_vendor", "bios_version", "bios_date",
	} {
		names = append(names, "sys/class/dmi/id/"+attribute)
	}
	if resources {
		names = append(names, "proc/cpuinfo", "proc/meminfo")
		const system = "sys/devices/system/"
		names = append(names, system+"memory/block_size_bytes")
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
