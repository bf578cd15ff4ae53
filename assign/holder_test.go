package assign_test

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// holding is a host with a sound card, a disk and a card on vfio-pci, and three processes.
func holding() fstest.MapFS {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	link := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: fs.ModeSymlink} }
	const at = "sys/bus/pci/devices/"
	return fstest.MapFS{
		at + "0000:00:1b.0/sound/card0/uevent":           file(""),
		at + "0000:00:1b.0/sound/card0/controlC0/uevent": file("MAJOR=116\nMINOR=2\nDEVNAME=snd/controlC0\n"),
		at + "0000:00:1b.0/sound/card0/pcmC0D0p/uevent":  file("MAJOR=116\nMINOR=3\nDEVNAME=snd/pcmC0D0p\n"),
		at + "0000:00:1b.0/sound/card0/power/uevent":     file("DEVNAME=power\n"),
		at + "0000:00:1b.0/sound/card0/odd/uevent":       file("DEVNAME=../../etc/passwd\n"),
		at + "0000:02:00.0/nvme/nvme0/uevent":            file("DEVNAME=nvme0\n"),
		at + "0000:03:00.0/vfio-dev/vfio0/uevent":        file("DEVNAME=vfio/devices/vfio0\n"),
		at + "0000:03:00.0/iommu_group":                  link("../../../../kernel/iommu_groups/11"),
		at + "0000:01:00.0/driver":                       link("../../../bus/pci/drivers/nvidia"),
		at + "0000:00:1b.0/driver":                       link("../../../bus/pci/drivers/snd_hda_intel"),
		at + "0000:03:00.0/driver":                       link("../../../bus/pci/drivers/vfio-pci"),
		"dev/nvidia0":                                    file(""),
		"dev/nvidiactl":                                  file(""),
		"dev/nvidia-caps/cap1":                           file(""),
		"proc/1/comm":                                    file("init\n"),
		"proc/1/fd/0":                                    link("/dev/null"),
		"proc/1/maps":                                    file(""),
		"proc/812/comm":                                  file("qemu-system-x86\n"),
		"proc/812/cmdline":                               file("/usr/bin/qemu-system-x86_64\x00-name\x00guest=work,debug-threads=on\x00-S\x00"),
		"proc/812/fd/7":                                  link("/dev/vfio/11"),
		"proc/812/fd/8":                                  link("anon_inode:[vfio-device]"),
		"proc/812/maps":                                  file(""),
		"proc/900/comm":                                  file("pipewire\n"),
		"proc/900/fd/3":                                  link("/dev/snd/controlC0 (deleted)"),
		"proc/900/maps":                                  file("7f00-7f10 rw-s 00000000 00:05 9   /dev/snd/pcmC0D0p\n"),
		"proc/900/stat":                                  file("900 (pipe) wire) S 1" + strings.Repeat(" 0", 17) + " 4711 0\n"),
		"proc/901/stat":                                  file("901 (x) Z 1" + strings.Repeat(" 0", 17) + " 4712 0\n"),
	}
}

func TestNodes(t *testing.T) {
	host := holding()
	for device, want := range map[string][]string{
		"0000:00:1b.0": {"dev/snd/controlC0", "dev/snd/pcmC0D0p"},
		"0000:02:00.0": nil, // nobody is waited for
		"0000:03:00.0": {"dev/vfio/11", "dev/vfio/devices/vfio0"},
		"0000:01:00.0": {"dev/nvidia0", "dev/nvidiactl"},
		"0000:09:00.0": nil,
	} {
		got, err := assign.Nodes(host, "pci", device)
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", device, d)
		}
	}
	if _, err := assign.Nodes(host, "pci", "../../../etc"); err == nil {
		t.Error("a device by a name that leads elsewhere")
	}
}

func TestHolders(t *testing.T) {
	host := holding()
	got, err := assign.Holders(host, []string{"dev/snd/controlC0", "dev/snd/pcmC0D0p", "dev/vfio/11"})
	if err != nil {
		t.Error(err)
	}
	var said []string
	for _, h := range got {
		said = append(said, fmt.Sprint(h, " ", h.Node))
	}
	want := []string{
		"qemu-system-x86 (process 812, guest work) dev/vfio/11",
		"pipewire (process 900) dev/snd/controlC0",
		"pipewire (process 900) dev/snd/pcmC0D0p",
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
	// Of many the first, so that what is noted of them has its bounds.
	many := holding()
	for pid := range 100 {
		dir := fmt.Sprintf("proc/%d", 1000+pid)
		many[dir+"/comm"] = many["proc/900/comm"]
		many[dir+"/fd/3"] = many["proc/900/fd/3"]
		many[dir+"/maps"] = many["proc/1/maps"]
	}
	if got, err := assign.Holders(many, []string{"dev/snd/controlC0"}); err != nil || len(got) != 16 || got[0].PID != 900 || got[15].PID != 1014 {
		t.Errorf("of many: %+v, %v", got, err)
	}
	// Who has closed the group and kept the device.
	delete(host, "proc/812/fd/7")
	got, err = assign.Holders(host, []string{"dev/vfio/11"})
	if d := cmp.Diff([]assign.Holder{{PID: 812, Name: "qemu-system-x86", Guest: "work"}}, got); d != "" || err != nil {
		t.Errorf("%s%v", d, err)
	}
	if got, err := assign.Holders(hosts{}, nil); got != nil || err != nil {
		t.Errorf("without a node: %v, %v", got, err)
	}
}

func TestOpenNodes(t *testing.T) {
	p := &assign.Plan{}
	for _, name := range []string{"0000:00:1b.0", "0000:02:00.0", "0000:03:00.0"} {
		a, err := pci.ParseAddress(name)
		if err != nil {
			t.Fatal(err)
		}
		p.Devices = append(p.Devices, a)
	}
	found, err := assign.OpenNodes(holding(), p)
	if err != nil {
		t.Error(err)
	}
	var said []string
	for _, f := range found {
		if f.Code != laptop.NodeOpen || f.Severity != laptop.Warning || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
		said = append(said, f.Device+": "+f.Detail)
	}
	want := []string{
		"pci:0000:00:1b.0: pipewire (process 900) has /dev/snd/controlC0 open, and snd_hda_intel may wait until that is closed",
		"pci:0000:00:1b.0: pipewire (process 900) has /dev/snd/pcmC0D0p open, and snd_hda_intel may wait until that is closed",
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
}

// hosts fails the test that reads it.
type hosts struct{}

func (hosts) Open(name string) (fs.File, error) { panic("read " + name) }

func TestStuckOver(t *testing.T) {
	host := holding()
	for _, test := range []struct {
		pid     int
		started string
		over    bool
	}{
		{900, "4711", false},
		{900, "4710", true},  // another process with its number
		{901, "4712", true},  // it has ended, and nobody waits for it
		{1234, "4711", true}, // gone
	} {
		e := &assign.StuckError{PID: test.pid, Started: test.started}
		if got := e.Over(host); got != test.over {
			t.Errorf("%d since %q: %v", test.pid, test.started, got)
		}
	}
	e := &assign.StuckError{File: "sys/bus/pci/drivers/snd_hda_intel/unbind", Waited: 3 * time.Second, PID: os.Getpid(),
		Holders: []assign.Holder{{PID: 900, Name: "pipewire", Node: "dev/snd/controlC0"}, {PID: 12}}}
	want := fmt.Sprintf("the kernel has not come back from /sys/bus/pci/drivers/snd_hda_intel/unbind for 3s (process %d is in it); "+
		"it waits for pipewire (process 900) with /dev/snd/controlC0, a process (process 12) with a VFIO device", os.Getpid())
	if e.Error() != want {
		t.Errorf("%s", e)
	}
	started, err := assign.ProcessStart(hostfs.Live(), os.Getpid())
	if e.Started = started; err != nil || e.Over(hostfs.Live()) {
		t.Error("this process has ended")
	}
}
