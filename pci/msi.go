package pci

// An MSI is a function's capability for message signalled interrupts (PCI Local
// Bus 3.0, section 6.8.1).
type MSI struct {
	Enabled        bool
	Address64      bool
	Maskable       bool // each vector by itself
	Vectors        int  // it can use: 1 to 32; 0 for a code that is reserved
	VectorsEnabled int
	Address        uint64 // where messages are written; of the host's interrupt controller
	Data           uint16
	Mask, Pending  uint32 // of a maskable one
}

// MSI decodes the capability for message signalled interrupts.
func (c Config) MSI() (MSI, error) {
	v, err := c.find(CapabilityMSI, 0x0a)
	if err != nil {
		return MSI{}, err
	}
	ctl := le16(v, 2)
	m := MSI{
		Enabled:        bit(ctl, 0),
		Address64:      bit(ctl, 7),
		Maskable:       bit(ctl, 8),
		Vectors:        vectors(ctl >> 1),
		VectorsEnabled: vectors(ctl >> 4),
		Address:        uint64(le32(v, 4)),
	}
	n := 0x08 // where the data are
	if m.Address64 {
		n = 0x0c
	}
	if m.Maskable {
		err = c.more(v, n+12)
	} else {
		err = c.more(v, n+2)
	}
	if err != nil {
		return m, err
	}
	if m.Address64 {
		m.Address |= uint64(le32(v, 8)) << 32
	}
	m.Data = le16(v, n)
	if m.Maskable {
		m.Mask, m.Pending = le32(v, n+4), le32(v, n+8)
	}
	return m, nil
}

func vectors(code uint16) int {
	if code &= 7; code > 5 {
		return 0
	}
	return 1 << code
}

// A BARLocation is a place in the memory of a function.
type BARLocation struct {
	BAR    uint8  // 0 to 5; 6 and 7 are reserved
	Offset uint32 // from the beginning of that BAR, in bytes
}

func barLocation(v uint32) BARLocation { return BARLocation{uint8(v & 7), v &^ 7} }

// An MSIX is a function's capability for MSI-X (PCI Local Bus 3.0, section 6.8.2).
type MSIX struct {
	Enabled bool
	Masked  bool // all vectors
	Vectors int  // entries of the table: 1 to 2048
	Table   BARLocation
	Pending BARLocation
}

// MSIX decodes the capability for MSI-X.
func (c Config) MSIX() (MSIX, error) {
	v, err := c.find(CapabilityMSIX, 12)
	if err != nil {
		return MSIX{}, err
	}
	ctl := le16(v, 2)
	return MSIX{
		Enabled: bit(ctl, 15),
		Masked:  bit(ctl, 14),
		Vectors: int(ctl&0x7ff) + 1,
		Table:   barLocation(le32(v, 4)),
		Pending: barLocation(le32(v, 8)),
	}, nil
}
