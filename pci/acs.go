package pci

// ACSFlags are the services by which a function keeps the traffic of its
// neighbours apart (PCI Express Base 6.0, section 7.7.11).
type ACSFlags uint16

// The services, in the words of the specification.
const (
	ACSSourceValidation    ACSFlags = 1 << iota // no packet under another's number
	ACSTranslationBlocking                      // no packet that claims to be translated
	ACSRequestRedirect                          // requests between peers go up first
	ACSCompletionRedirect                       // so do their answers
	ACSUpstreamForwarding                       // what goes up is not turned around below
	ACSEgressControl                            // a vector says which peers may be reached
	ACSDirectTranslatedP2P                      // translated packets may go from peer to peer
)

// ACSIsolation is what Linux demands of a port before it puts what is behind in
// IOMMU groups of its own.
const ACSIsolation = ACSSourceValidation | ACSRequestRedirect | ACSCompletionRedirect | ACSUpstreamForwarding

// String names the services that are set, as lspci does.
func (a ACSFlags) String() string {
	return bitNames(uint32(a), []string{"SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl",
		"DirectTrans"})
}

// An ACS is a function's Access Control Services capability.
type ACS struct {
	Supported ACSFlags
	Enabled   ACSFlags
	// EgressVector is the number of bits of the egress control vector, 0 without one.
	EgressVector int
	Enhanced     bool // it also has the controls of PCI Express 5.0, which are not decoded
}

// ACS decodes the Access Control Services capability.
func (c Config) ACS() (ACS, error) {
	v, err := c.findExtended(ExtendedACS, 8)
	if err != nil {
		return ACS{}, err
	}
	cap, ctl := le16(v, 4), le16(v, 6)
	// The bits above mean different things in the two registers.
	a := ACS{Supported: ACSFlags(cap & 0x7f), Enabled: ACSFlags(ctl & 0x7f), Enhanced: bit(cap, 7)}
	if a.Supported&ACSEgressControl != 0 {
		if a.EgressVector = int(cap >> 8); a.EgressVector == 0 {
			a.EgressVector = 256
		}
	}
	return a, nil
}
