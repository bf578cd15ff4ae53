package laptop

// The codes of what other programs than indy hold. They keep it.
const (
	HeldElsewhere   Code = "held-elsewhere"   // another process has the group open, as a guest's QEMU does
	ForeignOverride Code = "foreign-override" // somebody has named a driver for it, which comes back with its release
)
