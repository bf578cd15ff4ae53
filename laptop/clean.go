package laptop

import "github.com/project-independence/indy/internal/plain"

// maxText is the most of a device's own words that is kept, in characters.
const maxText = 256

// line makes one bounded line of printable text of what a device, its firmware or a
// saved machine says.
func line(s string) string { return plain.Line(s, maxText) }

// plainWord makes a bounded line of an attribute that is one word or number.
func plainWord(s string) string { return plain.Line(s, 64) }
