package qemu

import "strings"

// option writes the value of a command line option that has no JSON form: words
// such as "socket", and key=value pairs given as two arguments. It is the one
// place where such text is put together: QEMU reads a doubled comma as a comma
// that belongs to the value.
func option(word string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(escape(word))
	for i := 0; i+1 < len(pairs); i += 2 {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i])
		b.WriteByte('=')
		b.WriteString(escape(pairs[i+1]))
	}
	return b.String()
}

func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }
