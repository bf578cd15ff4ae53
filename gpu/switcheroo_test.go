package gpu_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

func TestParseSwitcheroo(t *testing.T) {
	dis, igd := pci.NewAddress(0, 1, 0, 0), pci.NewAddress(0, 0, 2, 0)
	for _, tt := range []struct {
		in   string
		want []gpu.SwitchClient
		err  string
	}{
		{"0:DIS: :DynOff:0000:01:00.0\n1:IGD:+:Pwr:0000:00:02.0\n2:DIS-Audio: :Off:0000:01:00.1\n", []gpu.SwitchClient{
			{Function: dis, Discrete: true, Dynamic: true}, {Function: igd, Active: true, Powered: true},
			{Function: pci.NewAddress(0, 1, 0, 1), Discrete: true, Audio: true}}, ""},
		{"0:DIS:+:DynPwr:0000:01:00.0\n", []gpu.SwitchClient{{Function: dis, Discrete: true, Active: true, Powered: true, Dynamic: true}}, ""},
		{"", nil, ""},
		{"\n\n", nil, ""},
		{"0:DIS:+:Pwr\n1:IGD:+:Pwr:0000:00:02.0\n", []gpu.SwitchClient{{Function: igd, Active: true, Powered: true}}, "with colons between"},
		{"0:EXT:+:Pwr:0000:01:00.0\n", nil, "expected DIS or IGD"},
		{"0:DIS:+:On:0000:01:00.0\n", nil, "expected Pwr or Off"},
		{"0:DIS:+:Pwr:01:00.0x\n", nil, "01:00.0x"},
	} {
		got, err := gpu.ParseSwitcheroo([]byte(tt.in))
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b pci.Address) bool { return a == b })); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
		if tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v", tt.in, err)
		}
	}
	clients, err := gpu.ParseSwitcheroo([]byte(strings.Repeat("0:DIS:+:Pwr:0000:01:00.0\n", 70)))
	if len(clients) != 64 || err == nil {
		t.Errorf("%d clients, %v", len(clients), err)
	}
	tr := new(hostfs.Tree)
	if _, err := gpu.ReadSwitcheroo(tr); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(t, tr.Put("sys/kernel/debug/vgaswitcheroo/switch", []byte("x\n0:DIS:+:Pwr:0000:01:00.0\n")))
	var op *gpu.OpError
	if clients, err := gpu.ReadSwitcheroo(tr); len(clients) != 1 || !errors.As(err, &op) {
		t.Errorf("%v, %v", clients, err)
	}
}

func FuzzParseSwitcheroo(f *testing.F) {
	f.Add([]byte("0:DIS: :DynOff:0000:01:00.0\n1:IGD:+:Pwr:0000:00:02.0\n2:DIS-Audio: :Off:10000:01:00.1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		clients, _ := gpu.ParseSwitcheroo(data)
		if len(clients) > 64 {
			t.Fatalf("%d clients", len(clients))
		}
		for _, c := range clients {
			if !c.Function.IsValid() {
				t.Fatalf("%+v", c)
			}
		}
	})
}
