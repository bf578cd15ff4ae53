package pci

// An SRIOV is a physical function's capability to show virtual ones (PCI Express
// Base 6.0, section 9.3.3).
type SRIOV struct {
	Enabled       bool // the virtual functions are there
	MemoryEnabled bool // and answer
	ARIHierarchy  bool // they may have function numbers above 7
	InitialVFs    int
	TotalVFs      int
	NumVFs        int // as set; there only if Enabled
	Dependency    uint8
	// The first virtual function's routing id is the physical one's plus Offset, and
	// each further one's the one before plus Stride. Both are set with NumVFs.
	Offset, Stride uint16
	Device         ID // device id of the virtual functions
	// PageSizes has bit n for pages of 4096<<n bytes; PageSize is the one that is set.
	PageSizes, PageSize uint32
	BARs                []BAR // of virtual function 0, each further one's follow it; without sizes
}

// SRIOV decodes the capability for virtual functions.
func (c Config) SRIOV() (SRIOV, error) {
	v, err := c.findExtended(ExtendedSRIOV, 0x40)
	if err != nil {
		return SRIOV{}, err
	}
	ctl := le16(v, 0x08)
	return SRIOV{
		Enabled:       bit(ctl, 0),
		MemoryEnabled: bit(ctl, 3),
		ARIHierarchy:  bit(ctl, 4),
		InitialVFs:    int(le16(v, 0x0c)),
		TotalVFs:      int(le16(v, 0x0e)),
		NumVFs:        int(le16(v, 0x10)),
		Dependency:    v[0x12],
		Offset:        le16(v, 0x14),
		Stride:        le16(v, 0x16),
		Device:        NewID(le16(v, 0x1a)),
		PageSizes:     le32(v, 0x1c),
		PageSize:      le32(v, 0x20),
		BARs:          decodeBARs(v[0x24:0x24+6*4], KindVFBAR),
	}, nil
}
