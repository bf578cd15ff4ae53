package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A function is one PCI function as a report without paths states it.
type function struct {
	line     int // where the report begins to tell of it
	address  address
	ids      ids
	revision string // two digits, empty when it is not stated
	driver   string
	group    string // decimal, empty when it is not stated
	node     string // decimal, of memory
	label    string
	config   []byte
	bridge   bool
	behind   uint64 // of a bridge, the number of the bus behind it
}

// ids are the numbers by which a function says what it is: vendor, device,
// subsystem and class, each in hexadecimal without 0x and empty when it is unknown.
type ids struct {
	vendor, device, subVendor, subDevice string // four digits
	class                                string // six digits
}

// parsePCIAlias reads pci:vVVVVVVVVdDDDDDDDDsvSSSSSSSSsdSSSSSSSSbcBBscSSiII.
func parsePCIAlias(s string) (i ids, ok bool) {
	const form = "pci:v00000000d00000000sv00000000sd00000000bc00sc00i00"
	if len(s) != len(form) {
		return i, false
	}
	field := func(at, width int, key string) string {
		digits := strings.ToLower(s[at : at+width])
		if _, isHex := parseHex(digits, width); !isHex || s[at-len(key):at] != key {
			ok = false
		}
		return strings.TrimPrefix(digits, "0000")
	}
	ok = true
	i.vendor, i.device = field(5, 8, "pci:v"), field(14, 8, "d")
	i.subVendor, i.subDevice = field(24, 8, "sv"), field(34, 8, "sd")
	i.class = field(44, 2, "bc") + field(48, 2, "sc") + field(51, 2, "i")
	return i, ok && len(i.vendor) == 4 && len(i.device) == 4 && len(i.subVendor) == 4 && len(i.subDevice) == 4
}

// putIDs writes the attributes of a function in dir.
func (b *builder) putIDs(dir string, i ids) {
	for _, attribute := range []struct{ name, value string }{
		{"vendor", i.vendor}, {"device", i.device}, {"class", i.class},
		{"subsystem_vendor", i.subVendor}, {"subsystem_device", i.subDevice},
	} {
		if attribute.value != "" {
			b.put(dir+"/"+attribute.name, "0x"+attribute.value)
		}
	}
}

// putFunctions places functions of which the report states no path: each below the
// bridge to its bus or, when no bridge leads there, at the root of its domain and bus.
func (b *builder) putFunctions(all []function) {
	slices.SortStableFunc(all, func(f, g function) int { return strings.Compare(f.address.key(), g.address.key()) })
	type bus struct {
		domain uint32
		number uint8
	}
	dirs := map[bus]string{}
	for i := range all {
		f := &all[i]
		if i > 0 && all[i-1].address == f.address {
			b.addf(f.line, "%s is told of twice; the first is taken", f.address)
			continue
		}
		on := bus{f.address.domain, f.address.bus}
		dir := dirs[on]
		if dir == "" {
			dir = fmt.Sprintf("sys/devices/pci%04x:%02x", on.domain, on.number)
		}
		dir += "/" + f.address.String()
		b.putFunction(dir, f)
		// A bus has a higher number than the one above it, so functions in the order of
		// their addresses find the bridges above them placed.
		if f.bridge && f.behind > uint64(f.address.bus) && f.behind <= 0xff {
			to := bus{f.address.domain, uint8(f.behind)}
			if dirs[to] != "" {
				b.addf(f.line, "%s: the bus %02x behind it is behind another bridge, too; that one is taken", f.address, f.behind)
				continue
			}
			dirs[to] = dir
		}
	}
}

// key orders addresses as text.
func (a address) key() string {
	return fmt.Sprintf("%08x:%02x:%02x.%x", a.domain, a.bus, a.device, a.function)
}

func (b *builder) putFunction(dir string, f *function) {
	b.found++
	b.mkdir(dir)
	b.onBus("pci", dir)
	b.putIDs(dir, f.ids)
	if f.revision != "" {
		b.put(dir+"/revision", "0x"+f.revision)
	}
	if f.bridge {
		b.put(dir+"/secondary_bus_number", strconv.FormatUint(f.behind, 10))
	}
	b.putKnown(dir+"/numa_node", f.node)
	b.putKnown(dir+"/label", f.label)
	if len(f.config) > 0 {
		b.file(dir+"/config", string(f.config))
	}
	if err := b.bind("pci", dir, f.driver); err != nil {
		b.addf(f.line, "%s: %w", f.address, err)
	}
	if f.group != "" {
		b.link(dir+"/iommu_group", "sys/kernel/iommu_groups/"+f.group)
	}
}

// groupsNotStated leaves it open whether the kernel made IOMMU groups: a kernel has
// both sys/class/iommu and sys/kernel/iommu_groups, or neither.
func (b *builder) groupsNotStated() { b.mkdir("sys/class/iommu") }
