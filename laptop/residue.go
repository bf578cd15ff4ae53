package laptop

// The codes of what a guest has left in a device, or may have.
const (
	// UsedBy: another guest used it, and it has not been reset since.
	UsedBy Code = "used-by"
	// Tainted: it was to be reset and is not known to have been, or is not what it was.
	Tainted Code = "tainted"
	// LockedResidue: the same where a locked guest is to get it or was the one that used
	// it. Nobody overrides that; only a verified reset ends it.
	LockedResidue Code = "locked-residue"
)
