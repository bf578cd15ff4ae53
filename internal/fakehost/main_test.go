package fakehost_test

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/fakehost"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
)

func TestMain(m *testing.M) {
	code := fakehost.Main(m, map[string]func() error{"conform": conform, "racer": racer})
	program().remove()
	os.Exit(code)
}

// conform runs a conformance script on the host it is started on.
func conform() error {
	script, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	out, err := sim.Conform(hostfs.Live(), script)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(out)
	return err
}

// kernel returns the emulated laptop as a simulated kernel.
func kernel(t testing.TB, opts sim.Options) *sim.Kernel {
	t.Helper()
	saved, err := machine()(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := sim.New(saved, opts)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// machine reads a saved machine once: tests boot it hundreds of times.
var machine = sync.OnceValue(func() func(file string) (*hostfs.Tree, error) {
	var once sync.Once
	var tree *hostfs.Tree
	var err error
	return func(file string) (*hostfs.Tree, error) {
		once.Do(func() {
			var saved hostfs.Saved
			if saved, err = hostfs.Open(file); err == nil {
				tree = saved.(*hostfs.Tree)
			}
		})
		return tree, err
	}
})

// A built is the real command, built once for all tests.
type built struct {
	once      sync.Once
	dir, path string
}

var program = sync.OnceValue(func() *built { return new(built) })

func (b *built) build(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		var err error
		if b.dir, err = os.MkdirTemp("", "indy-program-"); err != nil {
			t.Fatal(err)
		}
		b.path = hosttest.BuildIndy(t, b.dir)
	})
	if b.path == "" {
		t.Fatal("the command could not be built")
	}
	return b.path
}

func (b *built) remove() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// host returns a host with the real command on it.
func host(t testing.TB, k *sim.Kernel) *fakehost.Host {
	t.Helper()
	h := fakehost.New(t, k, fakehost.Options{})
	if err := h.Install("indy", program().build(t)); err != nil {
		t.Fatal(err)
	}
	return h
}
