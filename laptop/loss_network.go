package laptop

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
)

// network adds default routes, interfaces that are up, and what switches radios.
func (x *losing) network() {
	before := len(x.losses)
	x.uses(x.needs.uses, DefaultRoute)
	x.tunnels(x.losses[before:])
	x.gaps(RouteUnknown)
	x.otherTables()
	var addresses map[string][]string
	for _, d := range x.set {
		for _, c := range d.Classes {
			if c.Class != "net" || !x.isUp(c) {
				continue
			}
			if addresses == nil {
				addresses = x.addresses()
			}
			x.interfaceUp(d, c, addresses)
		}
	}
	x.radioSwitches()
}

// tunnels says of VPNs with a default route what is known: that they run over something.
func (x *losing) tunnels(routes []Loss) {
	if len(routes) == 0 || len(x.needs.tunnels) == 0 {
		return
	}
	names := some(x.needs.tunnels, len(x.needs.tunnels))
	d := x.l.Device(routes[0].Device)
	if d == nil {
		return
	}
	x.add(d, Loss{
		Kind: NetworkInUse, Severity: Warning, Evidence: routes[0].Evidence,
		What: "a default route by " + names + " on top: what that runs over the kernel's tables do not say; what is not for it goes by " + routes[0].Via[1],
	}, append([]string{names}, routes[0].Via[1:len(routes[0].Via)-1]...)...)
}

// otherTables says that there are default routes of which procfs does not tell the
// interface: those of IPv4 in tables other than the main one.
func (x *losing) otherTables() {
	d := x.playing(Ethernet, WLAN, WWAN, Modem)
	if d == nil {
		return
	}
	text, err := fs.ReadFile(x.fsys, "proc/net/fib_trie")
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			x.note(fmt.Errorf("routing tables: %w", err))
		}
		return
	}
	if tables := defaultTables(string(text)); len(tables) > 0 {
		x.add(d, Loss{
			Kind: RouteUnknown, Severity: Gap, Evidence: "proc/net/fib_trie", Remedy: "see ip route show table all",
			What: "there is a default route in routing table " + some(tables, len(tables)) + ", and procfs does not say by which interface",
		})
	}
}

// defaultTables returns the numbers of the tables in /proc/net/fib_trie that have a
// default route and are not the main one. There a leaf is an address, and below it are
// the lengths of the prefixes that begin with it, each with its scope and type.
func defaultTables(text string) []string {
	var tables []string
	table, zero := "", false
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		id, isTable := strings.CutPrefix(s, "Id ")
		switch {
		case strings.HasSuffix(s, ":") && s == strings.TrimSuffix(line, "\n"):
			table, zero = "", false
			if n, err := strconv.ParseUint(strings.TrimSuffix(id, ":"), 10, 32); isTable && err == nil {
				table = strconv.FormatUint(n, 10)
			}
		case strings.HasPrefix(s, "|-- "):
			zero = s == "|-- 0.0.0.0"
		case strings.HasPrefix(s, "+-- "):
			zero = false
		case zero && table != "" && strings.HasPrefix(s, "/0 ") && strings.HasSuffix(s, " UNICAST") && !slices.Contains(tables, table):
			if len(tables) < maxNamed {
				tables = append(tables, table)
			}
		}
	}
	return tables
}

// attribute reads an attribute of a class device, empty when it has none.
func (x *losing) attribute(c ClassDevice, name string) string {
	s, err := hostfs.ReadString(x.fsys, c.Source(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.note(fmt.Errorf("%s: %w", c.Name, err))
	}
	return plainWord(s)
}

// isUp reports whether an interface was set up (IFF_UP) and has a link, or is of a kind
// whose driver does not say.
func (x *losing) isUp(c ClassDevice) bool {
	flags, err := strconv.ParseUint(strings.TrimPrefix(x.attribute(c, "flags"), "0x"), 16, 32)
	if err != nil || flags&1 == 0 {
		return false
	}
	switch x.attribute(c, "operstate") {
	case "up", "unknown", "dormant":
		return true
	}
	return false
}

// interfaceUp adds an interface that is up, with what is built of it and its addresses.
func (x *losing) interfaceUp(d *Device, c ClassDevice, addresses map[string][]string) {
	uppers := x.uppers(c.Name, nil)
	what := c.Name + " is up"
	via := []string{}
	found := slices.Clone(addresses[c.Name])
	for _, u := range uppers {
		part := u
		var others []string
		for _, other := range x.adjacent(u, "lower_") {
			if other != c.Name && !slices.Contains(uppers, other) {
				others = append(others, other)
			}
		}
		if len(others) > 0 {
			part += " with " + some(others, len(others))
		}
		what += ", in " + part
		found = append(found, addresses[u]...)
		via = append([]string{u}, via...)
	}
	if len(found) > 0 {
		what += ": " + some(found, len(found))
	}
	x.add(d, Loss{
		Kind: NetworkInUse, What: what, Severity: Warning, Evidence: c.Source("operstate"),
		Remedy: "take it down, or move what needs it to another interface",
	}, append(via, c.Name)...)
}

// maxUppers is how many interfaces on top of one are followed.
const maxUppers = 64

// uppers returns the interfaces built on top of one: bridge, bond, VLAN, team.
func (x *losing) uppers(name string, found []string) []string {
	for _, u := range x.adjacent(name, "upper_") {
		if len(found) < maxUppers && !slices.Contains(found, u) {
			found = x.uppers(u, append(found, u))
		}
	}
	return found
}

// adjacent returns the interfaces that the links of one name, above or below it.
func (x *losing) adjacent(name, prefix string) []string {
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return nil
	}
	entries, err := fs.ReadDir(x.fsys, "sys/class/net/"+name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.note(fmt.Errorf("network interface %s: %w", name, err))
	}
	var found []string
	for _, e := range entries {
		if other, ok := strings.CutPrefix(e.Name(), prefix); ok && len(found) < maxUppers {
			found = append(found, other)
		}
	}
	return found
}

// addresses returns the networks of IPv4 that interfaces are connected to, and their
// addresses of IPv6.
func (x *losing) addresses() map[string][]string {
	found := map[string][]string{}
	for _, table := range []struct {
		file  string
		parse func(string) []interfaceAddress
	}{{"proc/net/route", parseConnected}, {"proc/net/if_inet6", parseIPv6Addresses}} {
		text, err := fs.ReadFile(x.fsys, table.file)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && table.file != "proc/net/route" { // which was noted
				x.note(fmt.Errorf("addresses: %w", err))
			}
			continue
		}
		for _, a := range table.parse(string(text)) {
			if s := a.prefix.String(); !slices.Contains(found[a.name], s) && len(found[a.name]) < maxNamed {
				found[a.name] = append(found[a.name], s)
			}
		}
	}
	return found
}

// An interfaceAddress is a network or an address, and the interface it is on.
type interfaceAddress struct {
	name   string
	prefix netip.Prefix
}

// parseConnected returns the networks in /proc/net/route that are reached without a
// gateway.
func parseConnected(text string) []interfaceAddress {
	var found []interfaceAddress
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] == "*" {
			continue
		}
		destination, ok1 := littleEndian(f[1])
		gateway, ok2 := littleEndian(f[2])
		mask, ok3 := littleEndian(f[7])
		length := leadingOnes(mask)
		if ok1 && ok2 && ok3 && gateway == 0 && length > maxCover && mask<<length == 0 {
			a := netip.AddrFrom4([4]byte{byte(destination >> 24), byte(destination >> 16), byte(destination >> 8), byte(destination)})
			found = append(found, interfaceAddress{f[0], netip.PrefixFrom(a, length)})
		}
	}
	return found
}

// parseIPv6Addresses reads /proc/net/if_inet6: address, number of the interface, length
// of the prefix, scope, flags and name.
func parseIPv6Addresses(text string) []interfaceAddress {
	var found []interfaceAddress
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		b, err := hex.DecodeString(f[0])
		length, lengthErr := strconv.ParseUint(f[2], 16, 8)
		if err != nil || len(b) != 16 || lengthErr != nil || length > 128 {
			continue
		}
		found = append(found, interfaceAddress{f[5], netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), int(length))})
	}
	return found
}

// radioSwitches says which switches of the board can turn off the radios of the set, and
// stay with the host when those go: a guest cannot turn them on.
func (x *losing) radioSwitches() {
	kinds := map[string]*Device{}
	for _, d := range x.set {
		for role, kind := range map[Role]string{WLAN: "wlan", Bluetooth: "bluetooth", WWAN: "wwan"} {
			if slices.Contains(d.Roles, role) && kinds[kind] == nil {
				kinds[kind] = d
			}
		}
	}
	if len(kinds) == 0 {
		return
	}
	entries, err := fs.ReadDir(x.fsys, "sys/class/rfkill")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.note(fmt.Errorf("radio switches: %w", err))
	}
	for _, e := range entries {
		c := ClassDevice{Class: "rfkill", Name: e.Name()}
		p, err := linkedPath(x.fsys, c.Source(""))
		if err != nil {
			x.note(unlessMissing(fmt.Errorf("radio switch %s: %w", line(e.Name()), err), 0))
			continue
		}
		if on := carrierOf(p); on.port.IsValid() || on.function.IsValid() || strings.Contains(p, "/ieee80211/") || strings.Contains(p, "/bluetooth/") {
			continue // the radio's own, which goes with it
		}
		d := kinds[x.attribute(c, "type")]
		if d == nil {
			continue
		}
		loss := Loss{
			Kind: RadioSwitch, Severity: Info, Evidence: c.Source("soft"),
			What: fmt.Sprintf("the switch %s (%s) stays with the host, and the radio is off while it is", c.Name, x.attribute(c, "name")),
		}
		if soft, hard := x.attribute(c, "soft"), x.attribute(c, "hard"); soft == "1" || hard == "1" {
			loss.Severity, loss.Remedy = Warning, "switch it on first"
			loss.What += ", as now"
			if hard == "1" {
				loss.Evidence = c.Source("hard")
			}
		}
		x.add(d, loss, c.Name)
	}
}
