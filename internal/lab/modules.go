package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

// moduleNames are loaded in this order before anything else runs inside. The
// generic codec comes before the sound controller, or the card stays silent.
func moduleNames() []string {
	return []string{
		"vfio", "vfio_iommu_type1", "vfio_pci",
		"e1000e", "e1000", "igb", "nvme", "ahci", "i2c_i801", "lpc_ich",
		"xhci_pci", "usb_storage", "usbhid", "hid_generic", "dummy_hcd",
		"snd_hda_codec_generic", "snd_hda_intel", "snd_usb_audio",
		"virtio_pci", "virtio_gpu", "virtio_net", "virtio_blk", "bochs",
		"9p", "9pnet_virtio", "overlay",
	}
}

// packedNames are there too when the machine starts, for [Machine] to load if its
// topology needs them.
func packedNames() []string { return []string{"vmd"} }

// moduleSet is the part of a kernel's modules that some of them need, with the
// tables from which busybox's modprobe finds it.
type moduleSet struct {
	files   []moduleFile
	dep     []byte // modules.dep
	alias   []byte // modules.alias
	builtin []byte // modules.builtin
	order   []byte // modules.order
}

type moduleFile struct {
	name string // below lib/modules/VERSION, without .xz
	data []byte
}

// readModules reads the named modules and all they depend on from dir, which is
// the kernel's lib/modules/VERSION, and unpacks them: busybox cannot.
func readModules(dir string, names []string) (*moduleSet, error) {
	dep, err := readModuleDep(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	set := new(moduleSet)
	if set.builtin, err = os.ReadFile(filepath.Join(dir, "modules.builtin")); err != nil {
		return nil, err
	}
	if set.order, err = os.ReadFile(filepath.Join(dir, "modules.order")); err != nil {
		return nil, err
	}
	wanted, err := closure(dep, builtinModules(set.builtin), names)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	have := make(map[string]bool)
	var table bytes.Buffer
	for _, file := range wanted {
		data, err := readModule(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		set.files = append(set.files, moduleFile{strings.TrimSuffix(file, ".xz"), data})
		have[moduleName(file)] = true
		table.WriteString(strings.TrimSuffix(file, ".xz") + ":")
		for _, d := range dep[file] {
			table.WriteString(" " + strings.TrimSuffix(d, ".xz"))
		}
		table.WriteByte('\n')
	}
	set.dep = table.Bytes()
	set.alias, err = readAliases(filepath.Join(dir, "modules.alias"), have)
	return set, err
}

// readModuleDep reads a modules.dep: each line is a module's file, a colon, and
// the files of all modules it needs, directly or not.
func readModuleDep(name string) (map[string][]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	dep := make(map[string][]string)
	for line := range strings.Lines(string(data)) {
		file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			dep[file] = strings.Fields(needs)
		}
	}
	return dep, nil
}

func builtinModules(table []byte) map[string]bool {
	builtin := make(map[string]bool)
	for line := range strings.Lines(string(table)) {
		builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return builtin
}

// closure returns the files of the named modules and of all they need, sorted.
// A built-in module needs no file.
func closure(dep map[string][]string, builtin map[string]bool, names []string) ([]string, error) {
	byName := make(map[string]string, len(dep))
	for file := range dep {
		byName[moduleName(file)] = file
	}
	seen := make(map[string]bool)
	var add func(file string) error
	add = func(file string) error {
		if seen[file] {
			return nil
		}
		needs, ok := dep[file]
		if !ok {
			return fmt.Errorf("module %s is needed but not in modules.dep", file)
		}
		seen[file] = true
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		file, ok := byName[name]
		if !ok && builtin[name] {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("no module %s", name)
		}
		if err := add(file); err != nil {
			return nil, err
		}
	}
	files := make([]string, 0, len(seen))
	for file := range seen {
		files = append(files, file)
	}
	slices.Sort(files)
	return files, nil
}

// moduleName returns the name the kernel gives to a module's file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readAliases returns the lines "alias PATTERN MODULE" of modules we have, so the
// kernel can ask for them by what it finds.
func readAliases(name string, have map[string]bool) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var kept bytes.Buffer
	for line := range bytes.Lines(data) {
		f := bytes.Fields(line)
		if len(f) == 3 && have[string(f[2])] {
			kept.Write(line)
		}
	}
	return kept.Bytes(), nil
}

// readModule returns the module in the file name, unpacked if it ends in .xz.
func readModule(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !strings.HasSuffix(name, ".xz") {
		return io.ReadAll(f)
	}
	r, err := xz.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}
