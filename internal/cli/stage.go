package cli

import (
	"io/fs"
	"os"
	"path"
	"syscall"
)

// stageProgram is the jail stage as a program of its own, beside indy: it starts sooner than
// indy does, by all that indy has for other commands.
const stageProgram = "indy-jail"

// jail is the command that confines QEMU, nil for none.
func (e *Env) jail() []string {
	if e.Jail == nil {
		return nil
	}
	return e.Jail()
}

// jailStage returns the command that confines QEMU: the program beside the one that runs, or
// where there is none, this one once more, which is called not by its name, as that may be
// another program by now.
func jailStage(host fs.FS) []string {
	self := []string{"/proc/self/exe", jailCommand}
	// Of a program that was replaced since it was started, it is a name that nothing has.
	exe, err := fs.ReadLink(host, "proc/self/exe")
	if err != nil {
		return self
	}
	if stage := path.Join(path.Dir(exe), stageProgram); path.IsAbs(exe) && alongside(exe, stage) {
		return []string{stage}
	}
	return self
}

// alongside reports whether a program may be run by whoever runs the one beside it: whose
// the one is, his is the other, and nobody else can write them or put others in their place.
func alongside(exe, other string) bool {
	var owner [2]uint32
	for i, name := range []string{exe, other} {
		info, err := os.Lstat(name)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || info.Mode().Perm()&0o100 == 0 {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false
		}
		owner[i] = st.Uid
	}
	dir, err := os.Stat(path.Dir(exe))
	return err == nil && dir.Mode().Perm()&0o022 == 0 && owner[0] == owner[1]
}
