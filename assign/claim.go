package assign

import (
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
)

// A Claim is what a lease keeps from others: the key of something that has one owner, as
// "group 12", "usb 1-4", "vfs 0000:05:00.0" or "mdev UUID"; or, with "under " before the
// key, a share of it, which others may have, too, as long as nobody has the whole.
type Claim string

// GroupClaim is the claim of an IOMMU group.
func GroupClaim(g iommu.GroupID) Claim { return Claim("group " + g.String()) }

// Under is a share of what c is the claim of.
func Under(c Claim) Claim { return Claim(shared + c.Key()) }

const shared = "under "

// Key is what is claimed.
func (c Claim) Key() string { return strings.TrimPrefix(string(c), shared) }

// Shared reports whether others may have a share of it, too.
func (c Claim) Shared() bool { return strings.HasPrefix(string(c), shared) }

// Conflicts reports whether two leases cannot have c and other at once.
func (c Claim) Conflicts(other Claim) bool {
	return c.Key() == other.Key() && !(c.Shared() && other.Shared())
}

// conflict returns the first of the wanted claims that one of the held stands against.
func conflict(wanted, held []Claim) (Claim, bool) {
	for _, w := range wanted {
		if slices.ContainsFunc(held, w.Conflicts) {
			return w, true
		}
	}
	return "", false
}
