package hostfs_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
)

// Clones of clones, changed at random, hold what trees that share nothing hold.
func TestTreeClones(t *testing.T) {
	for seed := range uint64(20) {
		type pair struct{ shared, alone *hostfs.Tree }
		random := rand.New(rand.NewPCG(seed, 0))
		pairs := []pair{{new(hostfs.Tree), new(hostfs.Tree)}}
		name := func() string {
			s := string(rune('a' + random.IntN(4)))
			for range random.IntN(4) {
				s += "/" + string(rune('a'+random.IntN(4)))
			}
			return s
		}
		for step := range 600 {
			p := pairs[random.IntN(len(pairs))]
			at, text, to := name(), fmt.Sprint(step), []string{"/", "../", ""}[random.IntN(3)]+name()
			var do func(*hostfs.Tree) error
			switch n := random.IntN(10); {
			case n < 4:
				do = func(m *hostfs.Tree) error { return m.Put(at, []byte(text)) }
			case n < 6:
				do = func(m *hostfs.Tree) error { return m.WriteFile(at, []byte(text)) }
			case n < 7:
				do = func(m *hostfs.Tree) error { return m.Symlink(to, at) }
			case n < 8:
				do = func(m *hostfs.Tree) error { return m.Mkdir(at) }
			case n < 9:
				do = func(m *hostfs.Tree) error { return m.Remove(at) }
			case len(pairs) < 8:
				pairs = append(pairs, pair{p.shared.Clone(), apart(t, p.alone)})
				continue
			default:
				pairs = slices.Delete(pairs, 0, 1)
				continue
			}
			if got, want := do(p.shared), do(p.alone); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d, step %d: %v, and without a clone %v", seed, step, got, want)
			}
		}
		for i, p := range pairs {
			if d := cmp.Diff(text(t, p.alone), text(t, p.shared)); d != "" {
				t.Fatalf("seed %d, clone %d: -alone +shared:\n%s", seed, i, d)
			}
			if d := p.shared.Diff(p.alone); len(d) > 0 {
				t.Errorf("seed %d, clone %d: not the same: %v", seed, i, d)
			}
		}
	}
}

func text(t *testing.T, m *hostfs.Tree) string {
	t.Helper()
	b, err := hostfs.FormatTxtar(m, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// apart copies a tree by way of its text.
func apart(t *testing.T, m *hostfs.Tree) *hostfs.Tree {
	t.Helper()
	c, _, err := hostfs.ParseTxtar([]byte(text(t, m)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTreeDiff(t *testing.T) {
	var a hostfs.Tree
	for _, name := range []string{"sys/same", "sys/other", "sys/gone/deep", "sys/kind"} {
		if err := a.Put(name, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	b := a.Clone()
	if d := a.Diff(b); len(d) != 0 {
		t.Errorf("a clone: %v", d)
	}
	if d := a.Diff(new(hostfs.Tree)); !slices.Equal(d, []string{"sys"}) {
		t.Errorf("an empty tree: %v", d)
	}
	_ = b.WriteFile("sys/same", []byte("1"))
	_ = b.WriteFile("sys/other", []byte("2"))
	_ = b.Remove("sys/gone")
	_ = b.Remove("sys/kind")
	_ = b.Symlink("1", "sys/kind")
	_ = b.Mkdir("sys/new/deep")
	want := []string{"sys/gone", "sys/kind", "sys/new", "sys/other"}
	if d := a.Diff(b); !slices.Equal(d, want) {
		t.Errorf("%v, want %v", d, want)
	}
	if d := b.Diff(&a); !slices.Equal(d, want) {
		t.Errorf("the other way: %v, want %v", d, want)
	}
}

func BenchmarkTreeClone(b *testing.B) {
	var m hostfs.Tree
	for i := range 2000 {
		_ = m.Put(fmt.Sprintf("sys/%d/%d", i%40, i), []byte("1"))
	}
	for b.Loop() {
		_ = m.Clone().WriteFile("sys/7/7", []byte("2"))
	}
}
