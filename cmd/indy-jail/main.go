// Command indy-jail is what indy jail is, and nothing else: it starts in a third of the
// time. Only indy uses it, and does without where it is not installed beside it.
package main

import (
	"fmt"
	"os"

	"github.com/project-independence/indy/internal/jail"
)

func main() {
	fmt.Fprintln(os.Stderr, "indy:", jail.Main(os.Args[1:]))
	os.Exit(1)
}
