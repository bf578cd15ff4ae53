package picture

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/project-independence/indy/internal/plain"
)

// A Picture is what is to be drawn. Its texts may be anything; of each one bounded
// line is shown.
type Picture struct {
	Title   string   // what machine it is
	Facts   []string // what else is known of it as a whole, a few words each
	Remarks []string // sentences about the picture
	Warning []string // sentences about the whole machine that come before all else; none for no warning
	Badge   Verdict  // of the warning
	Buses   []Bus
	Marks   []Mark
}

// A Bus is what the trees of functions hang on: a root bus, or another place.
type Bus struct {
	Name  string
	Below []Node
}

// A Node is one function, or something else that is in a group.
type Node struct {
	ID     string // its address; once in a picture
	Bridge bool   // drawn smaller, as it is there for others
	Role   string
	Name   string
	Driver string // empty for none
	Group  string // number of its IOMMU group, empty for none

	Verdict Verdict
	Reason  string   // what is shown of the reasons of a verdict; may be empty
	Details []string // sentences that are told of who asks for more

	Carries []string // what else hangs on it, a line each
	Below   []Node   // the functions behind it
}

// A Mark is a place where isolation is missing: on the link below a node, or between
// two nodes on one bus. A mark on nodes that are not drawn is not either.
type Mark struct {
	// At is the upper node of a link, With what is below it, or both are on one bus. What
	// is neither is told in the box of With.
	At, With string
	Label    string // a few words: what is missing; may be empty
	Detail   string // a sentence; may be empty
}

// A Verdict is the badge of a node. The zero Verdict is none.
type Verdict uint8

// The verdicts. Stays is that of a bridge, which is not asked for.
const (
	Assignable Verdict = iota + 1
	WithCompanions
	ShareOnly
	Refused
	Unknown
	Stays
)

// verdictWords are what the legend says, and DOT in place of a badge.
var verdictWords = [...]string{
	Assignable: "assignable", WithCompanions: "with companions", ShareOnly: "share only",
	Refused: "refused", Unknown: "unknown", Stays: "stays with the host",
}

// String returns the verdict in words, empty for none.
func (v Verdict) String() string {
	if int(v) < len(verdictWords) {
		return verdictWords[v]
	}
	return ""
}

const signature = "drawn by indy groups"

// Ours reports whether a file that begins so is one that [SVG] or [DOT] made. A hundred
// bytes are enough.
func Ours(head []byte) bool {
	return bytes.HasPrefix(head, []byte(svgHead)) || bytes.HasPrefix(head, []byte(dotHead))
}

// Bounds on what is drawn.
const (
	maxNodes    = 480 // functions; others are counted
	maxDepth    = 16  // functions behind functions
	maxCarries  = 8   // lines a node
	maxDetails  = 12  // sentences a node
	maxTitle    = 80  // characters
	maxText     = 120 // of what is shown, before it is cut to the room there is
	maxSentence = 400 // of what is told of who asks
)

// text makes one line of s that can be shown. Of marks that are written over the letter
// before only one is kept, as more of them leave the line.
func text(s string, most int) string {
	marks := 0
	return strings.Map(func(r rune) rune {
		if !unicode.Is(unicode.M, r) {
			marks = 0
		} else if marks++; marks > 1 {
			return -1
		}
		return r
	}, plain.Line(s, most))
}
