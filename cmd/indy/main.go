// Command indy shows what is in a laptop, says what can be handed to a guest, and
// does it. Run indy help.
package main

import (
	"os"

	"github.com/project-independence/indy/internal/cli"
)

// version is set by the build (-ldflags "-X main.version=...").
var version = "devel"

func main() { os.Exit(cli.Main(os.Args[1:], cli.OS(version))) }
