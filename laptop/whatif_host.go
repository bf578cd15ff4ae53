package laptop

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// An asIf is a host with another command line of the kernel, and with groups that are
// not there: what is kept of one below /sys/kernel/iommu_groups is what is kept of those
// from which it was made.
type asIf struct {
	fs.FS
	commandLine string // empty for that of the host
	made        map[iommu.GroupID][]iommu.GroupID
}

// ReadFile reads a file that the host has, or would have.
func (h asIf) ReadFile(name string) ([]byte, error) {
	if name == "proc/cmdline" && h.commandLine != "" {
		return []byte(h.commandLine), nil
	}
	file, ok := strings.CutPrefix(name, "sys/kernel/iommu_groups/")
	number, attribute, _ := strings.Cut(file, "/")
	id, err := pci.ParseGroupID(number)
	if !ok || err != nil || h.made[id] == nil {
		return fs.ReadFile(h.FS, name)
	}
	var all []byte
	err = fs.ErrNotExist
	for _, old := range h.made[id] {
		text, oldErr := fs.ReadFile(h.FS, path.Join("sys/kernel/iommu_groups", old.String(), attribute))
		switch {
		case oldErr == nil:
			all = append(all, text...)
			err = nil
		case !errors.Is(oldErr, fs.ErrNotExist):
			return nil, oldErr
		}
		if attribute != "reserved_regions" && err == nil {
			break // one line, of which there is one
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return all, nil
}

// ReadDir is that of the host.
func (h asIf) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(h.FS, name) }

// ReadLink is that of the host.
func (h asIf) ReadLink(name string) (string, error) { return fs.ReadLink(h.FS, name) }

// Lstat is that of the host.
func (h asIf) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(h.FS, name) }
