package vfio

import (
	"encoding/binary"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing/fstest"

	"github.com/project-independence/indy/pci"
)

// A kernel behaves as Linux does with VFIO: groups with members and their drivers,
// one opener a group, containers, devices. It counts what is open.
type kernel struct {
	mu      sync.Mutex
	open    map[*fakeNode]bool
	groups  map[pci.GroupID]*fakeGroup
	version int
	iommus  map[uintptr]int // extension: answer
	vfio    bool            // module vfio
	vfioPCI bool            // module vfio-pci
	files   fstest.MapFS    // more files of the host
	calls   int
	// fail may fail a call: open, close, pread or the name of a request.
	fail func(call string) error
}

type fakeGroup struct {
	drivers map[string]string // member: driver
	busy    bool
	node    *fakeNode // its one opener
	device  fakeDevice
}

type fakeDevice struct {
	flags, regions, irqs uint32
	region               map[uint32][]byte // struct vfio_region_info, with capabilities behind
	irq                  map[uint32][2]uint32
	config               []byte
	configAt             int64
	resets               int
	affected             []Affected // by a hot reset, which there is none of if nil
}

type fakeNode struct {
	k         *kernel
	name      string
	group     *fakeGroup
	container *fakeNode // of a group
	iommu     uintptr   // of a container
	dev       *fakeDevice
}

// newKernel has group 7 with an NVMe disk, bound to vfio-pci.
func newKernel() *kernel {
	return &kernel{
		open:   map[*fakeNode]bool{},
		iommus: map[uintptr]int{type1: 1, type1v2: 1},
		vfio:   true, vfioPCI: true,
		files: fstest.MapFS{},
		groups: map[pci.GroupID]*fakeGroup{
			pci.NewGroupID(7): {
				drivers: map[string]string{"0000:02:00.0": "vfio-pci", "0000:00:1c.0": "pcieport"},
				device: fakeDevice{
					flags: 1 | 2, regions: 9, irqs: 5,
					region: map[uint32][]byte{
						0: regionInfo(7|regionHasCaps, 0x4000, 0, 3, 0, 0),
						1: regionInfo(0, 0, 1<<40),
						6: regionInfo(1, 0x1001, 6<<40),
						7: regionInfo(3, 256, 7<<40),
					},
					irq:    map[uint32][2]uint32{0: {7, 1}, 1: {9, 0}, 2: {9, 65}, 4: {9, 1}},
					config: append([]byte{0x36, 0x1b, 0x10, 0}, make([]byte, 252)...), configAt: 7 << 40,
				},
			},
		},
	}
}

// regionInfo is the whole answer, with one capability of the given words at its end.
func regionInfo(flags uint32, size, offset uint64, capability ...uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, 0)
	for _, v := range []uint32{flags, 0, regionInfoSize} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	b = binary.NativeEndian.AppendUint64(b, size)
	b = binary.NativeEndian.AppendUint64(b, offset)
	for i, v := range capability {
		if i == 0 {
			b = binary.NativeEndian.AppendUint16(b, uint16(v))
			b = binary.NativeEndian.AppendUint16(b, 1)
			continue
		}
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func (k *kernel) host() host { return host{liveTree{k}, k.openNode} }

// A liveTree is the host's files as they are at each call.
type liveTree struct{ k *kernel }

func (l liveTree) Open(name string) (fs.File, error)               { return l.k.tree().Open(name) }
func (l liveTree) ReadLink(name string) (string, error)            { return l.k.tree().ReadLink(name) }
func (l liveTree) Lstat(name string) (info fs.FileInfo, err error) { return l.k.tree().Lstat(name) }

func (k *kernel) tree() fstest.MapFS {
	tree := fstest.MapFS{}
	dir := &fstest.MapFile{Mode: fs.ModeDir | 0o755}
	if k.vfioPCI {
		tree[driverDir] = dir
	}
	for id, g := range k.groups {
		at := "sys/kernel/iommu_groups/" + id.String() + "/devices"
		tree[at] = dir
		for name, driver := range g.drivers {
			tree[at+"/"+name] = dir
			if driver != "" {
				tree[at+"/"+name+"/driver"] = &fstest.MapFile{
					Data: []byte("../../../bus/pci/drivers/" + driver), Mode: fs.ModeSymlink | 0o777}
			}
		}
	}
	maps.Copy(tree, k.files)
	return tree
}

// call counts a call and gives it its injected failure.
func (k *kernel) call(name string) error {
	k.calls++
	if k.fail != nil {
		return k.fail(name)
	}
	return nil
}

func (k *kernel) openNode(name string) (node, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	refuse := func(err error) (node, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if err := k.call("open"); err != nil {
		return refuse(err)
	}
	n := &fakeNode{k: k, name: name}
	id, err := pci.ParseGroupID(strings.TrimPrefix(name, "/dev/vfio/"))
	g := k.groups[id]
	switch {
	case !k.vfio:
		return refuse(syscall.ENOENT)
	case name == containerNode:
	case err != nil || g == nil || !g.hasNode():
		return refuse(syscall.ENOENT)
	case g.busy || g.node != nil:
		return refuse(syscall.EBUSY)
	default:
		n.group, g.node = g, n
	}
	k.open[n] = true
	return n, nil
}

// hasNode reports whether the group has a node: a member is bound to vfio-pci.
func (g *fakeGroup) hasNode() bool {
	for _, d := range g.drivers {
		if d == "vfio-pci" {
			return true
		}
	}
	return false
}

func (g *fakeGroup) viable() bool {
	for _, d := range g.drivers {
		if d != "" && d != "vfio-pci" && d != "pcieport" {
			return false
		}
	}
	return true
}
