package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A firmwareImage is the firmware of one descriptor: where its code is, and the variables as they come
// from the factory.
type firmwareImage struct{ Code, Variables string }

// The bounds of descriptors: Debian has three of UEFI for this machine, of a kilobyte.
const (
	maxDescriptors = 256
	maxDescriptor  = 64 << 10
)

// descriptorDirs are where descriptors are, the first being more than the later: a file of the same
// name there stands in its place, and hides it when it is empty (docs/interop/firmware.json of QEMU).
func descriptorDirs() []string {
	return []string{"/etc/qemu/firmware", "/usr/share/qemu/firmware"}
}

// secureFirmware returns the firmware that starts only what is signed: of the descriptors in these
// directories, in the order of their names, those that have the keys of Microsoft enrolled, are
// protected by system management mode, and are for the machine q35. What cannot be read is in the
// error, and hides no other.
func secureFirmware(dirs []string) (found []firmwareImage, err error) {
	names, err := descriptors(dirs)
	errs := []error{err}
	for _, name := range names {
		text, err := readSome(name, maxDescriptor)
		if err == nil && len(text) == 0 {
			continue
		}
		var image firmwareImage
		secure := false
		if err == nil {
			image, secure, err = parseDescriptor(text)
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		case secure:
			found = append(found, image)
		}
	}
	return found, errors.Join(errs...)
}

// descriptors returns the files of descriptors in their order.
func descriptors(dirs []string) (names []string, err error) {
	var errs []error
	var bases []string
	at := make(map[string]string)
	for _, dir := range dirs {
		all, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range all {
			if name := e.Name(); path.Ext(name) == ".json" && at[name] == "" && len(bases) < maxDescriptors {
				at[name] = filepath.Join(dir, name)
				bases = append(bases, name)
			}
		}
	}
	slices.Sort(bases)
	for _, b := range bases {
		names = append(names, at[b])
	}
	return names, errors.Join(errs...)
}

// readSome reads a file of at most so many bytes.
func readSome(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("it is longer than %d bytes", most)
	}
	return text, err
}

// parseDescriptor reads a descriptor, docs/interop/firmware.json of QEMU, and reports whether
// it is one of the firmware that is looked for.
func parseDescriptor(text []byte) (image firmwareImage, secure bool, err error) {
	type file struct{ Filename, Format string }
	var d struct {
		InterfaceTypes []string `json:"interface-types"`
		Mapping        struct {
			Device, Mode  string
			Executable    file
			NVRAMTemplate file `json:"nvram-template"`
		}
		Targets []struct {
			Architecture string
			Machines     []string
		}
		Features []string
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return image, false, err
	}
	for _, feature := range []string{"secure-boot", "enrolled-keys", "requires-smm"} {
		if !slices.Contains(d.Features, feature) {
			return image, false, nil
		}
	}
	machine := false
	for _, t := range d.Targets {
		machine = machine || t.Architecture == "x86_64" && slices.ContainsFunc(t.Machines, forQ35)
	}
	m := d.Mapping
	if !machine || !slices.Contains(d.InterfaceTypes, "uefi") || m.Device != "flash" || m.Mode != "" && m.Mode != "split" ||
		m.Executable.Format != "raw" || m.NVRAMTemplate.Format != "raw" {
		return image, false, nil
	}
	for _, name := range []string{m.Executable.Filename, m.NVRAMTemplate.Filename} {
		if !path.IsAbs(name) || strings.ContainsRune(name, 0) || len(name) > 4096 {
			return image, false, fmt.Errorf("%.100q is no absolute name of a file", name)
		}
	}
	return firmwareImage{m.Executable.Filename, m.NVRAMTemplate.Filename}, true, nil
}

// forQ35 reports whether a pattern of machines' names has the one that guests have.
func forQ35(pattern string) bool { return pattern == "q35" || strings.HasPrefix(pattern, "pc-q35-") }
