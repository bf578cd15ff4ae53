package pci

// UncorrectableErrors is a set of errors that lose data (PCI Express Base 6.0,
// section 7.8.4.2), with the bits of the register.
type UncorrectableErrors uint32

// String names the errors, as lspci does.
func (e UncorrectableErrors) String() string {
	return bitNames(uint32(e), []string{4: "DLP", 5: "SDES", 12: "TLP", 13: "FCP", 14: "CmpltTO", 15: "CmpltAbrt",
		16: "UnxCmplt", 17: "RxOF", 18: "MalfTLP", 19: "ECRC", 20: "UnsupReq", 21: "ACSViol", 22: "UncorrIntErr",
		23: "BlockedTLP", 24: "AtomicOpBlocked", 25: "TLPBlockedErr", 26: "PoisonTLPBlocked", 27: "DMWrReqBlocked",
		28: "IDECheck", 29: "MisIDETLP", 30: "PCRC_CHECK", 31: "TLPXlatBlocked"})
}

// CorrectableErrors is a set of errors that the hardware made good (section
// 7.8.4.5), with the bits of the register.
type CorrectableErrors uint32

// String names the errors, as lspci does.
func (e CorrectableErrors) String() string {
	return bitNames(uint32(e), []string{0: "RxErr", 6: "BadTLP", 7: "BadDLLP", 8: "Rollover", 12: "Timeout",
		13: "AdvNonFatalErr", 14: "CorrIntErr", 15: "HeaderOF"})
}

// An AER is a function's Advanced Error Reporting capability (PCI Express Base 6.0,
// section 7.8.4): what went wrong since it was cleared.
type AER struct {
	Uncorrectable     UncorrectableErrors // that occurred
	UncorrectableMask UncorrectableErrors // that are not reported
	Fatal             UncorrectableErrors // that are reported as fatal, not as non-fatal
	Correctable       CorrectableErrors
	CorrectableMask   CorrectableErrors
	FirstError        uint8 // bit number in Uncorrectable of what came first
}

// AER decodes the Advanced Error Reporting capability.
func (c Config) AER() (AER, error) {
	v, err := c.findExtended(ExtendedAER, 0x1c)
	if err != nil {
		return AER{}, err
	}
	return AER{
		Uncorrectable:     UncorrectableErrors(le32(v, 0x04)),
		UncorrectableMask: UncorrectableErrors(le32(v, 0x08)),
		Fatal:             UncorrectableErrors(le32(v, 0x0c)),
		Correctable:       CorrectableErrors(le32(v, 0x10)),
		CorrectableMask:   CorrectableErrors(le32(v, 0x14)),
		FirstError:        uint8(le32(v, 0x18) & 31),
	}, nil
}
