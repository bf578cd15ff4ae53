package broker

import (
	"os"
	"os/exec"
)

// Attach runs a command of the shell with one more argument on this terminal, and waits for it: an editor
// that its user has chosen. It gets the environment of this process.
func Attach(command, argument string) error {
	cmd := exec.Command("/bin/sh", "-c", command+` "$1"`, "sh", argument)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
