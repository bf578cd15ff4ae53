// Package bench measures indy against other programs and holds what is counted, and
// so does not depend on the machine, to its bounds. See README.md.
package bench
