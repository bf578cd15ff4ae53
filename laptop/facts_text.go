package laptop

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/project-independence/indy/pci"
)

// enough is how many characters of a list are given before the rest is only counted.
const enough = 200

// list joins the items of a list, and says how many more there are than fit on a line.
func list(items []string) string { return listBy(items, ", ") }

// listBy joins items that hold commas themselves by another separator.
func listBy(items []string, by string) string {
	var b strings.Builder
	for i, s := range items {
		if i > 0 && utf8.RuneCountInString(b.String())+utf8.RuneCountInString(s) > enough {
			fmt.Fprintf(&b, " and %d more", len(items)-i)
			break
		}
		if i > 0 {
			b.WriteString(by)
		}
		b.WriteString(s)
	}
	return b.String()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func texts[T fmt.Stringer](all []T) []string {
	s := make([]string, len(all))
	for i, v := range all {
		s[i] = v.String()
	}
	return s
}

func addresses(all []pci.Address) string { return strings.Join(texts(all), ", ") }

func roleNames(roles []Role) string {
	s := make([]string, len(roles))
	for i, r := range roles {
		s[i] = string(r)
	}
	return strings.Join(s, ", ")
}

func numbers(all []int) string {
	s := make([]string, len(all))
	for i, n := range all {
		s[i] = strconv.Itoa(n)
	}
	return strings.Join(s, ", ")
}

// plural is a number and what is counted, of which the plural has an s.
func plural(n int, what string) string {
	s := strconv.Itoa(n) + " " + what
	if n != 1 {
		s += "s"
	}
	return s
}

// counted gives each text once, where it comes first, with how often it comes.
func counted(all []string) []string {
	count := map[string]int{}
	var once []string
	for _, s := range all {
		if count[s]++; count[s] == 1 {
			once = append(once, s)
		}
	}
	for i, s := range once {
		if n := count[s]; n > 1 {
			once[i] = strconv.Itoa(n) + " x " + s
		}
	}
	return once
}
