package laptop

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/usb"
)

// classes says how many interfaces of a configuration are of which class. An interface
// with alternate settings of two classes is one of either.
type classes map[string]int

// String returns the classes in order, with how many there are if several:
// 030101x2,080650.
func (c classes) String() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if n := c[name]; n > 1 {
			name += fmt.Sprint("x", n)
		}
		words = append(words, name)
	}
	return strings.Join(words, ",")
}

// activeClasses returns the classes of the interfaces that are active now.
func activeClasses(d *usb.Device) classes {
	c := classes{}
	for _, i := range d.Interfaces {
		if i.Class.Known() {
			c[i.Class.String()]++
		}
	}
	return c
}

// offered returns the classes of each configuration. Beyond some hundred it stops.
func offered(d usb.Descriptors) []classes {
	const most = 150
	total := 0
	var all []classes
	for _, configuration := range d.Configurations {
		type setting struct {
			number int
			class  string
		}
		c, seen := classes{}, map[setting]bool{}
		for _, i := range configuration.Interfaces {
			s := setting{i.Number, i.Class.String()}
			if c[s.class] == 0 {
				if total == most {
					continue
				}
				total++
			}
			if !seen[s] {
				seen[s] = true
				c[s.class]++
			}
		}
		if len(c) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// joinClasses returns the configurations, each once and in order, with a semicolon
// between two.
func joinClasses(all []classes) string {
	var words []string
	for _, c := range all {
		if s := c.String(); s != "" {
			words = append(words, s)
		}
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ";")
}

// splitClasses reads what joinClasses writes.
func splitClasses(value string) []classes {
	const most = 256 // interfaces have a number of one byte
	var all []classes
	for configuration := range strings.SplitSeq(value, ";") {
		c := classes{}
		for name := range strings.SplitSeq(configuration, ",") {
			count := 1
			if class, times, ok := strings.Cut(name, "x"); ok {
				if n, err := strconv.Atoi(times); err == nil && n > 0 {
					name, count = class, n
				}
			}
			if name != "" {
				c[name] = min(c[name]+min(count, most), most)
			}
		}
		if len(c) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// plain has one class for both ways in which a disk speaks: bulk only (50) and UAS
// (62). Which is offered depends on the speed.
func (c classes) plain() classes {
	p := maps.Clone(c)
	if n := p["080662"]; n > 0 {
		p["080650"] = max(p["080650"], n)
		delete(p, "080662")
	}
	return p
}

// beyond returns what c has that d has not, or not as often.
func (c classes) beyond(d classes) classes {
	rest := classes{}
	for name, n := range c {
		if n > d[name] {
			rest[name] = n - d[name]
		}
	}
	return rest
}

// list returns each class as often as it is there, in order.
func (c classes) list() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		all = append(all, slices.Repeat([]string{name}, c[name])...)
	}
	return all
}

// excess returns what the configurations have beyond those of others: each beyond the
// one that is nearest to it.
func excess(all, others []classes) []string {
	sum := classes{}
	if len(others) == 0 {
		others = []classes{nil}
	}
	for _, c := range all {
		var least []string
		var rest classes
		for n, other := range others {
			beyond := c.plain().beyond(other.plain())
			if list := beyond.list(); n == 0 || len(list) < len(least) {
				least, rest = list, beyond
			}
		}
		for name, n := range rest {
			sum[name] = max(sum[name], n)
		}
	}
	return sum.list()
}
