package pci

// PMEStates is the set of power states from which a function can wake the machine.
type PMEStates uint8

// The power states of PCI Bus Power Management.
const (
	PMED0 PMEStates = 1 << iota
	PMED1
	PMED2
	PMED3hot
	PMED3cold
)

// String lists the states.
func (p PMEStates) String() string {
	return bitNames(uint32(p), []string{"D0", "D1", "D2", "D3hot", "D3cold"})
}

// A PowerManagement is a function's power management capability (PCI Bus Power
// Management 1.2, section 3.2).
type PowerManagement struct {
	Version uint8
	D1, D2  bool // the states it has besides D0 and D3
	PME     PMEStates
	// NoSoftReset: it keeps its registers on the way from D3hot to D0. Otherwise that
	// way resets it, which is the reset method pm.
	NoSoftReset bool
	State       string // now: D0, D1, D2 or D3hot; in D3cold nothing can be read
	PMEEnabled  bool
	PMEPending  bool
}

// PowerManagement decodes the power management capability.
func (c Config) PowerManagement() (PowerManagement, error) {
	v, err := c.find(CapabilityPowerManagement, 6)
	if err != nil {
		return PowerManagement{}, err
	}
	pmc, csr := le16(v, 2), le16(v, 4)
	return PowerManagement{
		Version:     uint8(pmc & 7),
		D1:          bit(pmc, 9),
		D2:          bit(pmc, 10),
		PME:         PMEStates(pmc >> 11),
		NoSoftReset: bit(csr, 3),
		State:       [4]string{"D0", "D1", "D2", "D3hot"}[csr&3],
		PMEEnabled:  bit(csr, 8),
		PMEPending:  bit(csr, 15),
	}, nil
}
