package gpu_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func TestMediatedTypes(t *testing.T) {
	a := pci.NewAddress(0, 0, 2, 0)
	const dir = "sys/bus/pci/devices/0000:00:02.0/mdev_supported_types/"
	tr := new(hostfs.Tree)
	if types, err := gpu.MediatedTypes(tr, a); types != nil || err != nil {
		t.Errorf("%v, %v", types, err)
	}
	if parents, err := gpu.MediatedParents(tr); parents != nil || err != nil {
		t.Errorf("%v, %v", parents, err)
	}
	for name, text := range map[string]string{
		"i915-GVTg_V5_4/available_instances":                                 "1\n",
		"i915-GVTg_V5_4/description":                                         "low_gm_size: 128MB\nhigh_gm_size: 512MB\nfence: 4\n",
		"i915-GVTg_V5_4/device_api":                                          "vfio-pci\n",
		"i915-GVTg_V5_4/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001/uevent": "",
		"i915-GVTg_V5_8/available_instances":                                 "0\n",
		"nvidia-63/name":                                                     "GRID P40-1Q\x1b\n",
		"nvidia-64/available_instances":                                      "-1\n",
	} {
		must(t, tr.Put(dir+name, []byte(text)))
	}
	must(t, tr.Symlink("../../devices/pci0000:00/0000:00:02.0", "sys/class/mdev_bus/0000:00:02.0"))
	must(t, tr.Symlink("../../devices/pci0000:00/0000:00:01.0/0000:01:00.0", "sys/class/mdev_bus/0000:01:00.0"))
	must(t, tr.Symlink("../../devices/virtual/mtty/mtty", "sys/class/mdev_bus/mtty"))
	types, err := gpu.MediatedTypes(tr, a)
	want := []gpu.MediatedType{
		{ID: "i915-GVTg_V5_4", Description: "low_gm_size: 128MB high_gm_size: 512MB fence: 4", API: "vfio-pci", Available: 1, Devices: []string{"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"}},
		{ID: "i915-GVTg_V5_8"}, {ID: "nvidia-63", Name: "GRID P40-1Q", Available: -1}, {ID: "nvidia-64", Available: -1},
	}
	var op *gpu.OpError
	if diff := cmp.Diff(want, types); diff != "" || !errors.As(err, &op) || !strings.Contains(err.Error(), `mediated type nvidia-64 of 0000:00:02.0: available_instances is "-1"`) {
		t.Errorf("%v %s", err, diff)
	}
	parents, err := gpu.MediatedParents(tr)
	if err != nil || len(parents) != 2 || parents[0] != a {
		t.Errorf("%v, %v", parents, err)
	}
	failing := hosttest.Failing{Tree: tr, Fail: func(name string) error {
		if filepath.Base(name) == "mdev_supported_types" || filepath.Base(name) == "mdev_bus" || filepath.Base(name) == "devices" {
			return syscall.EIO
		}
		return nil
	}}
	if _, err := gpu.MediatedTypes(failing, a); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if _, err := gpu.MediatedParents(failing); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	name := hosttest.Failing{Tree: tr, Fail: func(name string) error {
		if strings.HasSuffix(name, "GVTg_V5_4/name") || strings.HasSuffix(name, "GVTg_V5_4/devices") {
			return syscall.EIO
		}
		return nil
	}}
	if types, err := gpu.MediatedTypes(name, a); !errors.Is(err, syscall.EIO) || len(types) != 4 || types[0].Available != 1 {
		t.Errorf("%v, %v", types, err)
	}
}

// FuzzMediatedTypes feeds names and attributes that a driver makes up.
func FuzzMediatedTypes(f *testing.F) {
	f.Add("i915-GVTg_V5_4", "low_gm_size: 128MB\nhigh_gm_size: 512MB\nfence: 4\n", "1\n")
	f.Add("nvidia-63", "num_heads=1, frl_config=60, framebuffer=1024M\n", "16\n")
	f.Add("\x1b[2J", "\xff\x00\u202e", "-1\n")
	f.Fuzz(func(t *testing.T, id, text, number string) {
		a := pci.NewAddress(0, 0, 2, 0)
		tr := new(hostfs.Tree)
		const dir = "sys/bus/pci/devices/0000:00:02.0/mdev_supported_types/"
		for name, value := range map[string]string{"name": text, "description": text, "device_api": id, "available_instances": number, "devices/" + strings.ReplaceAll(id, "/", "!"): ""} {
			if tr.Put(dir+strings.ReplaceAll(id, "/", "!")+"/"+name, []byte(value)) != nil {
				return // no name of a file
			}
		}
		types, err := gpu.MediatedTypes(tr, a)
		if err != nil && len(err.Error()) > 16<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		for _, m := range types {
			for _, s := range append([]string{m.ID, m.Name, m.Description, m.API}, m.Devices...) {
				oneLine(t, s)
			}
			if m.Available < -1 {
				t.Errorf("%+v", m)
			}
		}
	})
}
