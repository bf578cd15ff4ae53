package pci

// A Capability is one entry of the chain that begins in the header.
type Capability struct {
	ID     CapabilityID
	Offset uint8 // of its first byte in configuration space
}

// An ExtendedCapability is one entry of the chain that begins at 0x100.
type ExtendedCapability struct {
	ID      ExtendedCapabilityID
	Version uint8
	Offset  uint16 // of its first byte in configuration space
}

// Capabilities returns the chain of capabilities in its order. A function without
// any has none and no error.
//
// With an error the list holds what was walked: [ErrUnread] when the chain goes on
// in bytes that were not read, as it does for everybody but root; [ErrMalformed]
// when it leads back to itself, into the header, or to an entry of all ones;
// [ErrNoAnswer]. The two lower bits of each pointer are masked, as the
// specification demands (PCI Local Bus 3.0, section 6.7).
func (c Config) Capabilities() ([]Capability, error) {
	var all []Capability
	err := c.walk(func(found Capability) bool {
		all = append(all, found)
		return true
	})
	return all, err
}

// walk calls visit for each capability until it returns false. A chain has at most
// 48 entries, because none is visited twice.
func (c Config) walk(visit func(Capability) bool) error {
	if err := c.header(); err != nil {
		return err
	}
	if Status(le16(c.b, 0x06))&StatusCapabilities == 0 {
		return nil
	}
	start := 0x34
	switch t := HeaderType(c.b[0x0e] & 0x7f); t {
	case HeaderNormal, HeaderBridge:
	case HeaderCardBus:
		start = 0x14
	default:
		return malformed("header type %#x", uint8(t))
	}
	var seen uint64 // one bit for four bytes
	from := start
	for at := int(c.b[start]) &^ 3; at != 0; {
		switch {
		case at < headerLength:
			return malformed("the chain of capabilities leads from %#x into the header, to %#x", from, at)
		case at+2 > len(c.b):
			return ErrUnread
		case seen>>(at/4)&1 != 0:
			return malformed("the chain of capabilities leads from %#x back to %#x", from, at)
		case c.b[at] == allOnes:
			return malformed("the chain of capabilities is broken at %#x: all ones", at)
		}
		seen |= 1 << (at / 4)
		if !visit(Capability{CapabilityID(c.b[at]), uint8(at)}) {
			return nil
		}
		from, at = at, int(c.b[at+1])&^3
	}
	return nil
}

// ExtendedCapabilities returns the chain of extended capabilities in its order. A
// function that is neither PCI Express nor PCI-X of mode 2 has none, and no error,
// whatever reads at 0x100.
//
// The errors are those of [Config.Capabilities]; [ErrUnread] also when 256 bytes
// of a PCI Express function were read.
func (c Config) ExtendedCapabilities() ([]ExtendedCapability, error) {
	var all []ExtendedCapability
	err := c.walkExtended(func(found ExtendedCapability) bool {
		all = append(all, found)
		return true
	})
	return all, err
}

func (c Config) walkExtended(visit func(ExtendedCapability) bool) error {
	if has, err := c.hasExtended(); err != nil || !has {
		return err
	}
	var seen [maxConfig / 4 / 64]uint64
	from := 0
	for at := baseConfig; at != 0; {
		if at < baseConfig {
			return malformed("the chain of extended capabilities leads from %#x below 0x100, to %#x", from, at)
		}
		if at+4 > len(c.b) {
			return ErrUnread
		}
		if seen[at/256]>>(at/4%64)&1 != 0 {
			return malformed("the chain of extended capabilities leads from %#x back to %#x", from, at)
		}
		seen[at/256] |= 1 << (at / 4 % 64)
		switch h := le32(c.b, at); h {
		case 0:
			return nil // none at all, or one that the device hides
		case 0xffffffff:
			return malformed("the chain of extended capabilities is broken at %#x: all ones", at)
		default:
			if !visit(ExtendedCapability{ExtendedCapabilityID(h), uint8(h >> 16 & 15), uint16(at)}) {
				return nil
			}
			from, at = at, int(h>>20)&^3
		}
	}
	return nil
}

// hasExtended reports whether what is above 0x100 means anything, as lspci decides
// it. Linux (pci_cfg_space_size) trusts every host bridge besides; there are some with
// rubbish there. Elsewhere it may be a copy of what is below.
func (c Config) hasExtended() (bool, error) {
	has := false
	err := c.walk(func(found Capability) bool {
		switch found.ID {
		case CapabilityExpress:
			has = true
		case CapabilityPCIX:
			at := int(found.Offset)
			has = at+8 <= len(c.b) && le32(c.b, at+4)>>30 != 0 // 266 or 533 MHz
		}
		return !has
	})
	if has {
		return true, nil
	}
	return false, err
}

// Find returns the first capability of a kind. The error is [ErrNoCapability] only
// when the whole chain was walked; else it is what ended the walk.
func (c Config) Find(id CapabilityID) (Capability, error) {
	var first Capability
	ok := false
	err := c.walk(func(found Capability) bool {
		if found.ID == id {
			first, ok = found, true
		}
		return !ok
	})
	if !ok && err == nil {
		err = ErrNoCapability
	}
	return first, err
}

// FindExtended returns the first extended capability of a kind, as Find does.
func (c Config) FindExtended(id ExtendedCapabilityID) (ExtendedCapability, error) {
	var first ExtendedCapability
	ok := false
	err := c.walkExtended(func(found ExtendedCapability) bool {
		if found.ID == id {
			first, ok = found, true
		}
		return !ok
	})
	if !ok && err == nil {
		err = ErrNoCapability
	}
	return first, err
}

// find returns what is known from a capability on, at least n bytes.
func (c Config) find(id CapabilityID, n int) (string, error) {
	found, err := c.Find(id)
	if err != nil {
		return "", err
	}
	return c.from(found, n)
}

func (c Config) findExtended(id ExtendedCapabilityID, n int) (string, error) {
	found, err := c.FindExtended(id)
	if err != nil {
		return "", err
	}
	return c.fromExtended(found, n)
}

func (c Config) from(found Capability, n int) (string, error) {
	at := int(found.Offset)
	if at+n > baseConfig {
		return "", malformed("%s at %#x is longer than what follows", found.ID, at)
	}
	if at+n > len(c.b) {
		return "", ErrUnread
	}
	return c.b[at:min(len(c.b), baseConfig)], nil
}

func (c Config) fromExtended(found ExtendedCapability, n int) (string, error) {
	at := int(found.Offset)
	if at+n > maxConfig {
		return "", malformed("%s at %#x is longer than what follows", found.ID, at)
	}
	if at+n > len(c.b) {
		return "", ErrUnread
	}
	return c.b[at:], nil
}

// more checks that a view that find returned holds n bytes.
func (c Config) more(v string, n int) error {
	return c.moreOf(v, n, baseConfig)
}

// moreExtended is more for a view of findExtended.
func (c Config) moreExtended(v string, n int) error {
	return c.moreOf(v, n, maxConfig)
}

func (c Config) moreOf(v string, n, end int) error {
	switch {
	case len(v) >= n:
		return nil
	case len(c.b) >= end:
		return malformed("a capability needs %d bytes where %d are left", n, len(v))
	}
	return ErrUnread
}
