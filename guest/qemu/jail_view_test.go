package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/jail"
)

// TestView follows links as the kernel does, and keeps them.
func TestView(t *testing.T) {
	top := t.TempDir()
	at := func(name string) string { return filepath.Join(top, name) }
	for _, dir := range []string{"usr/lib/deep", "store"} {
		if err := os.MkdirAll(at(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.Symlink("usr/lib", at("lib")), os.Symlink("../../lib/real", at("usr/lib/alias")), os.Symlink(at("usr"), at("absolute")),
		os.Symlink("loop", at("loop")), os.WriteFile(at("usr/lib/real"), nil, 0o755), os.WriteFile(at("store/x"), nil, 0o755))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		real  string
		links []string
		err   error
	}{
		{"store/x", "store/x", nil, nil},
		{"lib/real", "usr/lib/real", []string{"lib"}, nil},
		{"lib/alias", "usr/lib/real", []string{"lib", "usr/lib/alias"}, nil},
		{"absolute/lib/real", "usr/lib/real", []string{"absolute"}, nil},
		{"absolute/../lib/real", "usr/lib/real", []string{"lib"}, nil}, // cleaned before, as by the shell
		{"loop", "", nil, unix.ELOOP},
		{"none", "", nil, os.ErrNotExist},
		{"store/x/y", "", nil, unix.ENOTDIR},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v view
			got, err := v.real(at(tt.name))
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) || err == nil && got != at(tt.real) {
				t.Fatalf("%s, %v", got, err)
			}
			if err != nil {
				return
			}
			want := map[string]bool{}
			for _, l := range tt.links {
				want[at(l)] = true
			}
			have := map[string]bool{}
			for l := range v.links {
				have[l] = true
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
		})
	}
	var v view
	for _, name := range []string{"usr/lib/deep", "lib/alias", "usr/lib", "store", "store/x", "lib/real"} {
		v.add(at(name), false)
	}
	want := jail.Spec{Binds: []jail.Bind{{From: at("store")}, {From: at("usr/lib")}}, Links: []jail.Link{{Name: at("lib"), Target: "usr/lib"}}}
	if diff := cmp.Diff(want, v.spec()); diff != "" || v.err != nil {
		t.Errorf("%v (-want +got):\n%s", v.err, diff)
	}
}

// TestCell says what is seen in jails of several guests.
func TestCell(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	made := func(g guest.Guest, l Layout) *cell {
		t.Helper()
		j, err := newCell(Machine{Guest: g, Layout: l}, binary, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := (jail.Spec{Program: "/x", Binds: j.spec.Binds, Links: j.spec.Links, Proc: j.spec.Proc}).Validate(); err != nil {
			t.Error(err)
		}
		return j
	}
	sees := func(j *cell, name string) bool { return within(j.spec.Binds, name) }
	tcg := Layout{Accelerator: TCG}

	plain := made(guestOf(), tcg)
	if plain.network || plain.spec.Proc || sees(plain, "/dev/vfio/vfio") || sees(plain, "/etc/resolv.conf") || sees(plain, "/dev/snd/seq") {
		t.Errorf("%+v", plain.spec)
	}
	for _, b := range plain.spec.Binds {
		if b.Device && strings.Count(b.From, "/") != 2 {
			t.Errorf("it sees %s", b.From)
		}
	}
	g := guestOf()
	g.NICs = []guest.NIC{{Link: guest.LinkNAT}}
	l := Layout{Accelerator: TCG, NICs: []NICEnd{{}}}
	if j := made(g, l); !j.network {
		t.Error("QEMU's user network has no network")
	}
	l.NICs[0].FD = 7
	if j := made(g, l); j.network {
		t.Error("a guest of passt is in the host's network")
	}
	l.NICs[0].FD, g.NICs[0].Isolated = 0, true
	if j := made(g, l); j.network {
		t.Error("an isolated guest is in the host's network")
	}
	g = guestOf()
	g.Graphics = guest.VirtIOGPU
	if a, b := made(guestOf(), tcg).limits.memory, made(g, tcg).limits.memory; a >= b || a < guestOf().Memory+1<<30 {
		t.Errorf("%d and %d bytes", a, b)
	}
	g.Input.Evdev = []string{"/dev/input/none"}
	if _, err := newCell(Machine{Guest: g, Layout: tcg}, binary, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "confine QEMU") {
		t.Errorf("%v", err)
	}
}

func TestMeasures(t *testing.T) {
	for _, m := range measures(nil, nil, "not asked for") {
		inForce := m.Name == measureCaps || m.Name == measurePrivs || m.Name == measureCalls
		if m.InForce != inForce || inForce != (m.Why == "") || m.What == "" {
			t.Errorf("%+v", m)
		}
	}
	kept := map[string]string{memoryLimit: "no control groups", jail.Under: "initial file system"}
	var not []string
	for _, m := range measures(&cell{kept: kept, network: true}, new(syscall.Credential), "") {
		if !m.InForce {
			not = append(not, m.Name+": "+m.Why)
		}
	}
	want := []string{"root: initial file system", "network: QEMU carries the guest's network by itself; install passt, which does so outside of the jail", "memory: no control groups"}
	if diff := cmp.Diff(want, not); diff != "" {
		t.Error(diff)
	}
}

func TestLimits(t *testing.T) {
	root := t.TempDir()
	group := func(name, controllers, control string) string {
		dir := filepath.Join(root, name)
		err := errors.Join(os.MkdirAll(dir, 0o755),
			os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte(controllers), 0o644),
			os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(control), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	ours := group("system.slice/indy.service", "cpu memory pids\n", "memory pids\n")
	group("system.slice/indy.service/main", "memory pids\n", "")
	group("user.slice/user@1000.service/app.scope", "memory pids\n", "")
	none := group("none", "cpu\n", "")
	for _, dir := range []string{ours, filepath.Join(root, "user.slice/user@1000.service")} {
		if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
			hosttest.Missing(t, "no extended attributes here: %v", err)
		}
	}
	tests := []struct {
		own     string
		systemd bool
		want    string
	}{
		{"/system.slice/indy.service", true, "/system.slice/indy.service"},
		{"/system.slice/indy.service/main", true, "/system.slice/indy.service"},
		{"/system.slice", true, ""},
		{"/", true, ""},
		{"/user.slice/user@1000.service/app.scope", true, ""},
		{"/system.slice", false, "/system.slice"},
		{"/", false, "/"},
	}
	for _, tt := range tests {
		got, err := limits{root: root, own: tt.own, systemd: tt.systemd}.parent()
		if tt.want == "" && (err == nil || !strings.Contains(err.Error(), "systemd-run --scope -p Delegate=yes")) || tt.want != "" && got != filepath.Join(root, tt.want) {
			t.Errorf("%+v: %s, %v", tt, got, err)
		}
	}
	if err := enable(none); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if _, err := makeCgroup(limits{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	g, err := makeCgroup(limits{name: "work", memory: 1 << 30, root: root, own: "/system.slice/indy.service/main", systemd: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"memory.max": "1073741824", "pids.max": "256", "memory.oom.group": "1"} {
		if got, err := os.ReadFile(filepath.Join(g.dir.Name(), name)); string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	g.dir.Close()
	for text, want := range map[string]uint64{
		"": 0, "low 0\nhigh 0\nmax 5\noom 3\noom_kill 2\noom_group_kill 1\n": 2, "oom_kill 0\n": 0, "oom_kill x\n": 0, "oom_kills 4": 0, "oom_kill 7": 7,
	} {
		if got := oomKills(text); got != want {
			t.Errorf("oomKills(%q) = %d", text, got)
		}
	}
}
