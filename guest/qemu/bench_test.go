package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
)

// BenchmarkStart compares Start, without and with a jail, with a bare QEMU of the same
// arguments, all until the guest's processors run.
func BenchmarkStart(b *testing.B) {
	binary, err := Find()
	if err != nil {
		b.Skip(err)
	}
	g := guestOf(bootDisk(b, printText, "x"))
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			h := inheritance{rights: own{}}
			l := Layout{Accelerator: TCG}
			l.Disks, err = openDisks(&h, g)
			control, far, err1 := socketpair("qmp")
			console, farConsole, err2 := socketpair("serial")
			if err := errors.Join(err, err1, err2); err != nil {
				b.Fatal(err)
			}
			l.QMP, l.Serial = h.add(far, ""), h.add(farConsole, "")
			args, err := Args(g, l)
			if err != nil {
				b.Fatal(err)
			}
			cred, err := credential(User{})
			if err != nil {
				b.Fatal(err)
			}
			cmd := exec.Command(binary, args...)
			cmd.ExtraFiles, cmd.SysProcAttr, cmd.Env = h.files, attributes(cred), []string{}
			b.StartTimer()
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			io.WriteString(control, `{"execute":"qmp_capabilities"}{"execute":"cont"}`)
			in := json.NewDecoder(bufio.NewReader(control))
			for answers := 0; answers < 2; {
				var m map[string]json.RawMessage
				if err := in.Decode(&m); err != nil {
					b.Fatal(err)
				}
				if m["return"] != nil {
					answers++
				}
			}
			b.StopTimer()
			cmd.Process.Signal(os.Kill)
			cmd.Wait()
			h.close()
			control.Close()
			console.Close()
			b.StartTimer()
		}
	})
	indy := hosttest.BuildIndy(b, b.TempDir()) // this program of tests takes longer to start
	stage := hosttest.BuildJail(b, b.TempDir())
	for name, o := range map[string]Options{"indy": {}, "jail": {Jail: []string{stage}}, "jail-of-indy": {Jail: []string{indy, "jail"}}} {
		b.Run(name, func(b *testing.B) {
			o.Accelerator = TCG
			for b.Loop() {
				vm, err := Start(b.Context(), g, o)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				vm.proc.kill(nil)
				vm.Wait()
				b.StartTimer()
			}
		})
	}
}

func BenchmarkArgs(b *testing.B) {
	g := guestOf("disk.raw")
	l := Layout{Accelerator: TCG, QMP: 3, Serial: 4, Disks: []DiskFile{{FD: 5}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Args(g, l); err != nil {
			b.Fatal(err)
		}
	}
}
