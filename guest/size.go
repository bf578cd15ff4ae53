package guest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize reads a size in bytes: digits alone, or followed by KiB, MiB, GiB or
// TiB, as in 512MiB. Signs, fractions, spaces and units of a thousand are refused;
// the result is at least 1 and fits an int64.
func ParseSize(s string) (int64, error) {
	bad := func(why string) (int64, error) {
		return 0, fmt.Errorf("size %s: %s; expected bytes or a number of KiB, MiB, GiB or TiB, such as 8GiB", quote(s), why)
	}
	digits, shift := s, 0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, shift = rest, u.shift
			break
		}
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return bad("not a size")
		}
	}
	if digits == "" {
		return bad("no number")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return bad("too large")
	}
	if n == 0 {
		return bad("zero")
	}
	return n << shift, nil
}

// FormatSize writes n bytes in the largest unit that holds them whole, so that
// ParseSize reads the same number again.
func FormatSize(n int64) string {
	for _, u := range units {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

var units = [...]struct {
	name  string
	shift int
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}
