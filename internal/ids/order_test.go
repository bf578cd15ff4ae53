package ids

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever the order of the lines and of the questions, a vendor that is listed has
// a name, and one that is not has none.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		listed := map[uint16]bool{}
		var b strings.Builder
		v := 0
		for range 40 + r.IntN(200) {
			switch n := r.IntN(60); {
			case n == 0 && seed%3 > 0:
				v = r.IntN(400) // out of order
			case n < 4 && seed%3 == 1: // the same again
			default:
				v += 1 + r.IntN(3)
			}
			listed[uint16(v)] = true
			b.WriteString(id(uint16(v)).String() + "  name " + id(uint16(v)).String() + "\n")
			for d := range r.IntN(30) {
				b.WriteString("\t" + id(uint16(d)).String() + "  device\n")
			}
		}
		f := New([]byte(b.String()))
		for range 500 {
			v := uint16(r.IntN(700))
			name, ok := f.Vendor(id(v))
			if ok != listed[v] || ok && name != "name "+id(v).String() {
				t.Fatalf("seed %d: Vendor(%v) = %q, %v; want %v", seed, id(v), name, ok, listed[v])
			}
			if r.IntN(2) == 0 {
				f.Device(id(v), id(uint16(r.IntN(40))))
			}
		}
	}
}
