package earlybind

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/doctor"
	"github.com/project-independence/indy/internal/hostedit"
	"github.com/project-independence/indy/pci"
)

// Off is the kernel parameter with which a machine starts without early binding.
const Off = "indy.early=off"

// For is what the edits of this package are recorded for.
const For = "early binding"

// A Function is one that is bound early, with what it is known by.
type Function struct {
	Address pci.Address
	// Vendor, Device, SubsystemVendor and SubsystemDevice as sysfs writes them, 0x8086.
	IDs [4]string
	// Modules are those that would take the function, none of them built into the kernel.
	Modules []string
}

// Read reads which modules would take a function: that of its driver, and those whose
// aliases name it in /lib/modules of the running kernel.
//
// The error is errors.ErrUnsupported when the driver that has it is built into the kernel.
func Read(fsys fs.FS, a pci.Address) (Function, error) {
	f := Function{Address: a}
	dir := "sys/bus/pci/devices/" + a.String()
	for i, name := range []string{"vendor", "device", "subsystem_vendor", "subsystem_device"} {
		id, err := hostfs.ReadString(fsys, dir+"/"+name)
		if err != nil {
			return f, err
		}
		if !isID(id) {
			return f, &fs.PathError{Op: "read", Path: dir + "/" + name, Err: fmt.Errorf("%.20q is no id", id)}
		}
		f.IDs[i] = id
	}
	driver, err := pci.Driver(fsys, a)
	if err != nil {
		return f, err
	}
	if driver != "" && driver != vfioDriver {
		module, err := hostfs.ReadLinkBase(fsys, "sys/bus/pci/drivers/"+driver+"/module")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return f, &builtIn{driver, a}
		case err != nil:
			return f, err
		case !isModule(module):
			return f, fmt.Errorf("the driver %s has the module %.40q, which is no module's name", driver, module)
		}
		f.Modules = append(f.Modules, module)
	}
	alias, err := hostfs.ReadString(fsys, dir+"/modalias")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	named, err := aliases(fsys, alias)
	if err != nil {
		return f, err
	}
	f.Modules = append(f.Modules, named...)
	slices.Sort(f.Modules)
	f.Modules = slices.Compact(f.Modules)
	return f, nil
}

// A builtIn is a driver that no file keeps from a function. It is errors.ErrUnsupported.
type builtIn struct {
	driver string
	device pci.Address
}

func (e *builtIn) Error() string {
	return fmt.Sprintf("the driver %s of %s is built into the kernel, and has it before any file is read", e.driver, e.device)
}

func (e *builtIn) Is(target error) bool { return target == errors.ErrUnsupported }

const vfioDriver = "vfio-pci"

// aliases returns the modules whose aliases match.
func aliases(fsys fs.FS, alias string) ([]string, error) {
	release, err := hostfs.ReadString(fsys, "proc/sys/kernel/osrelease")
	if errors.Is(err, fs.ErrNotExist) || alias == "" {
		return nil, nil
	}
	if err != nil || strings.ContainsAny(release, "/\n") || !fs.ValidPath("lib/modules/"+release) {
		return nil, err
	}
	table, err := fs.ReadFile(fsys, "lib/modules/"+release+"/modules.alias")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		word := strings.Fields(line)
		if len(word) != 3 || word[0] != "alias" || !strings.HasPrefix(word[1], "pci:") {
			continue
		}
		// A pattern with an error in it matches nothing.
		if ok, _ := path.Match(word[1], alias); ok && isModule(word[2]) {
			found = append(found, word[2])
		}
	}
	return found, err
}

func isID(s string) bool {
	digits, ok := strings.CutPrefix(s, "0x")
	return ok && len(digits) == 4 && strings.Trim(digits, "0123456789abcdef") == ""
}

func isModule(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

// Where the files are. Each function has its own, so that one can be taken back.
const (
	modprobeDir = "etc/modprobe.d"
	rulesDir    = "etc/udev/rules.d"
	prefix      = "indy-early-"
	heading     = "# Made by indy early; indy early --undo takes it away again.\n"
	mark        = "# early " // of the line that says which function
)

func modprobeFile(a pci.Address) string { return modprobeDir + "/" + prefix + a.String() + ".conf" }
func ruleFile(a pci.Address) string     { return rulesDir + "/05-" + prefix + a.String() + ".rules" }

// script is run in place of loading vfio-pci, by the sh of the initial file system: for
// each function of all files it sets the override if the function is the one, and then it
// loads the module. Of several files that say how to load a module, modprobe takes the
// first, so all say the same. Standard output is the caller's and stays empty.
const script = `read c </proc/cmdline; case " $c " in *" ` + Off + ` "*) ;; *) ` +
	`for f in /` + modprobeDir + `/` + prefix + `*.conf; do while read h w a v d sv sd; do ` +
	`[ "$h $w" = "# early" ] || continue; s=/sys/bus/pci/devices/$a; [ -e $s/driver_override ] || continue; ` +
	`read i <$s/vendor; read j <$s/device; read k <$s/subsystem_vendor; read l <$s/subsystem_device; ` +
	`[ "$i $j $k $l" = "$v $d $sv $sd" ] && echo ` + vfioDriver + ` >$s/driver_override; done <$f; done;; esac; ` +
	`/sbin/modprobe --ignore-install ` + vfioDriver + ` $CMDLINE_OPTS`

// Edits returns what has to be written for functions to be bound early on this host: a
// file of modprobe and a rule of udev for each, and vfio-pci in the initial file system.
func Edits(h doctor.Host, functions []Function) ([]hostedit.Edit, error) {
	var edits []hostedit.Edit
	for _, f := range functions {
		lines := []string{mark + f.Address.String() + " " + strings.Join(f.IDs[:], " ")}
		for _, m := range f.Modules {
			lines = append(lines, "softdep "+m+" pre: "+vfioDriver)
		}
		lines = append(lines, "install "+vfioDriver+" "+script)
		rule := fmt.Sprintf(`ACTION=="add", SUBSYSTEM=="pci", KERNEL=="%s", ATTR{vendor}=="%s", ATTR{device}=="%s", ATTR{subsystem_vendor}=="%s", ATTR{subsystem_device}=="%s", ATTR{driver_override}="%s"`,
			f.Address, f.IDs[0], f.IDs[1], f.IDs[2], f.IDs[3], vfioDriver)
		edits = append(edits,
			hostedit.Edit{File: modprobeFile(f.Address), Kind: hostedit.Lines, Words: lines, Create: true, Heading: heading},
			hostedit.Edit{File: ruleFile(f.Address), Kind: hostedit.Lines, Words: []string{rule}, Create: true, Heading: heading})
	}
	// Loading vfio-pci at each start is what binds a function whose own modules nobody loads.
	load, err := h.Edits(doctor.Need{Check: "early binding", Modules: []string{vfioDriver}}, true)
	if err != nil {
		return nil, err
	}
	edits = append(edits, load...)
	for i := range edits {
		edits[i].For = For
		if edits[i].Create {
			edits[i].Heading = heading
		}
		edits[i].Then = slices.DeleteFunc(edits[i].Then, func(s string) bool { return strings.HasPrefix(s, "modprobe ") })
		// What is in the initial file system is as it was until it is made anew.
		if i < 2*len(functions) && len(load) > 0 {
			edits[i].Then = load[len(load)-1].Then
			edits[i].ThenUndone = load[len(load)-1].ThenUndone
		}
	}
	return edits, nil
}

// List returns the functions that the files below /etc/modprobe.d name, by address. What
// is not understood of them is in the error.
func List(fsys fs.FS) ([]Function, error) {
	entries, err := fs.ReadDir(fsys, modprobeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []Function
	errs := []error{err}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !strings.HasSuffix(e.Name(), ".conf") {
			continue
		}
		name := modprobeDir + "/" + e.Name()
		text, err := hostfs.ReadString(fsys, name)
		if err == nil {
			var f Function
			if f, err = parse(text); err == nil && name != modprobeFile(f.Address) {
				err = fmt.Errorf("names %s", f.Address)
			}
			if err == nil {
				all = append(all, f)
				continue
			}
			err = &fs.PathError{Op: "read", Path: "/" + name, Err: err}
		}
		errs = append(errs, err)
	}
	slices.SortFunc(all, func(a, b Function) int { return a.Address.Compare(b.Address) })
	return all, errors.Join(errs...)
}

// maxFile bounds a file that is read.
const maxFile = 64 << 10

func parse(text string) (Function, error) {
	var f Function
	if len(text) > maxFile {
		return f, errors.New("is too large")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, mark); ok {
			word := strings.Fields(rest)
			if f.Address.IsValid() || len(word) != 1+len(f.IDs) {
				return f, fmt.Errorf("%.80q does not name one function and its ids", line)
			}
			a, err := pci.ParseAddress(word[0])
			if err != nil {
				return f, err
			}
			for _, id := range word[1:] {
				if !isID(id) {
					return f, fmt.Errorf("%.20q is no id", id)
				}
			}
			f.Address = a
			copy(f.IDs[:], word[1:])
		}
		if word := strings.Fields(line); len(word) == 4 && word[0] == "softdep" && isModule(word[1]) {
			f.Modules = append(f.Modules, word[1])
		}
	}
	if !f.Address.IsValid() {
		return f, errors.New("names no function")
	}
	return f, nil
}

// Undo reports whether a record is one of those that take back the early binding of the
// given functions. The module in the initial file system stays for as long as there are
// others.
func Undo(functions []pci.Address, others bool) func(hostedit.Record) bool {
	files := map[string]bool{}
	for _, a := range functions {
		files[modprobeFile(a)], files[ruleFile(a)] = true, true
	}
	return func(r hostedit.Record) bool {
		if r.For != For {
			return false
		}
		dir, name := path.Split(r.File)
		ours := strings.Contains(name, prefix) && (dir == modprobeDir+"/" || dir == rulesDir+"/")
		return files[r.File] || !ours && !others
	}
}
