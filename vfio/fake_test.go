package vfio

import (
	"encoding/binary"
	"io/fs"
	"maps"
	"os"
	"strconv"
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
	passed  map[*os.File]*fakeState // duplicates, and what they are of
	groups  map[pci.GroupID]*fakeGroup
	version int
	iommus  map[uintptr]int // extension: answer
	vfio    bool            // module vfio
	vfioPCI bool            // module vfio-pci
	files   fstest.MapFS    // more files of the host
	calls   int
	log     []string // the structures of requests about memory and iommufd, in hex
	iommufd bool
	cdev    bool
	ranges  []Range // valid addresses
	most    uint32  // how many mappings there may be
	noRange bool    // an old kernel, that does not tell the two
	next    uint32  // the last number given to an object of an iommufd
	// fail may fail a call: open, close, pread or the name of a request.
	fail func(call string) error
}

type fakeGroup struct {
	drivers map[string]string // member: driver
	busy    bool
	node    *fakeNode // its one opener
	byNode  int       // how many devices are open by their own nodes
	device  fakeDevice
}

type fakeDevice struct {
	flags, regions, irqs uint32
	region               map[uint32][]byte // struct vfio_region_info, with capabilities behind
	irq                  map[uint32][2]uint32
	config               []byte
	configAt             int64
	resets               int
	affected             []Affected        // by a hot reset, which there is none of if nil
	notOwned             map[Affected]bool // of those, for a device with a node of its own
	hotResets            [][]string        // names of the groups that were given as proof
	enabled              map[uint32][]event
	masked               bool
	memory               []byte // of region 0
	mapped               int
}

// A fakeNode is one descriptor of an open file.
type fakeNode struct {
	k    *kernel
	name string
	*fakeState
}

type fakeState struct {
	refs      int
	group     *fakeGroup
	container *fakeNode // of a group; of a device with a node of its own, its iommufd
	iommu     uintptr   // of a container
	groups    int       // of a container
	dev       *fakeDevice
	ofGroup   *fakeGroup // of a device with a node of its own
	ioas      map[uint32]bool
	attached  uint32 // to which address space of the iommufd
	maps      []fakeMap
}

type fakeMap struct {
	at    Range
	flags uint32
	b     []byte
}

// newKernel has group 7 with an NVMe disk, bound to vfio-pci.
func newKernel() *kernel {
	return &kernel{
		open:   map[*fakeNode]bool{},
		passed: map[*os.File]*fakeState{},
		ranges: []Range{{0, 0xfedfffff}, {0xfef00000, 1<<39 - 1}}, most: 65535,
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

func (k *kernel) host() host { return host{liveTree{k}, k.openNode, k.adopt} }

// adopt makes a node of a file that duplicate made.
func (k *kernel) adopt(f *os.File) node {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := k.passed[f]
	delete(k.passed, f)
	f.Close()
	if st == nil {
		st = new(fakeState)
	}
	st.refs++
	n := &fakeNode{k, f.Name(), st}
	k.open[n] = true
	return n
}

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
			function := "sys/bus/pci/devices/" + name
			link := func(name, to string) {
				tree[function+"/"+name] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
			}
			link("iommu_group", "../../../../kernel/iommu_groups/"+id.String())
			if driver != "" {
				link("driver", "../../../../bus/pci/drivers/"+driver)
			}
			if driver == "vfio-pci" {
				tree[function+"/vfio-dev/vfio"+id.String()] = dir
				if k.cdev {
					tree[function+"/vfio-dev/vfio"+id.String()+"/dev"] = &fstest.MapFile{Data: []byte("511:0\n")}
				}
			}
			if driver != "" {
				tree[at+"/"+name+"/driver"] = &fstest.MapFile{
					Data: []byte("../../../bus/pci/drivers/" + driver), Mode: fs.ModeSymlink | 0o777}
			}
		}
	}
	devices := "Character devices:\n  1 mem\n"
	if k.vfio {
		devices += "509 vfio\n"
	}
	if k.cdev {
		devices += "511 vfio-dev\n"
	}
	tree["proc/devices"] = &fstest.MapFile{Data: []byte(devices + "\nBlock devices:\n259 blkext\n")}
	i := 0
	for n := range k.open {
		tree["proc/self/fd/"+strconv.Itoa(i)] = &fstest.MapFile{Data: []byte(n.name), Mode: fs.ModeSymlink | 0o777}
		i++
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
	n := &fakeNode{k, name, &fakeState{refs: 1, ioas: map[uint32]bool{}}}
	id, err := pci.ParseGroupID(strings.TrimPrefix(strings.TrimPrefix(name, "/dev/vfio/devices/vfio"), "/dev/vfio/"))
	g := k.groups[id]
	switch {
	case name == iommufdNode:
		if !k.iommufd {
			return refuse(syscall.ENOENT)
		}
	case !k.vfio:
		return refuse(syscall.ENOENT)
	case name == containerNode:
	case err != nil || g == nil || !g.hasNode():
		return refuse(syscall.ENOENT)
	case strings.HasPrefix(name, "/dev/vfio/devices/"):
		n.dev, n.ofGroup = &g.device, g
	case g.busy || g.node != nil || g.byNode > 0:
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
