package usb_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/usb"
)

const dock = `05 0f 64 00 06
07 10 02 1e f4 00 00
0a 10 03 02 0e 00 03 0a ff 07
14 10 04 00 78 56 34 12 bc 9a f0 de 12 34 56 78 9a bc de f0
18 10 0a 00 23 00 00 00 01 11 00 00 30 40 0a 00 b0 40 0a 00 31 40 14 00
18 10 05 00 df 60 dd d8 89 45 c7 4c 9c d2 65 9d 9e 64 8a 9f 00 00 03 06
03 10 0b`

func TestBOS(t *testing.T) {
	data := bin(t, dock)
	data[2] = byte(len(data))
	_, err := usb.ParseBOS(data)
	if err == nil || !strings.Contains(err.Error(), "4 speeds are named in 24 bytes") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
	data[46] = 0x22 // three speeds
	got, err := usb.ParseBOS(data)
	must(t, err)
	want := usb.BOS{
		USB2:        usb.USB2Extension{Present: true, LPM: true, BESL: true},
		SuperSpeed:  usb.SuperSpeed{Present: true, LTM: true, Speeds: []string{"12", "480", "5000"}, Full: "5000", U1Exit: 10, U2Exit: 2047},
		ContainerID: "12345678-9abc-def0-1234-56789abcdef0",
		SuperSpeedPlus: usb.SuperSpeedPlus{Present: true, RxLanes: 1, TxLanes: 1, SpeedID: 1, Sublinks: []usb.Sublink{
			{Bits: 10e9, Plus: true}, {Bits: 10e9, Plus: true, Transmit: true}, {ID: 1, Bits: 20e9, Plus: true},
		}},
		Platform: []usb.PlatformCapability{{UUID: "d8dd60df-4589-4cc7-9cd2-659d9e648a9f", Name: "Microsoft OS 2.0", Data: []byte{0, 0, 3, 6}}},
		Extra:    []usb.RawDescriptor{{Offset: len(data) - 3, Bytes: []byte{3, 0x10, 0x0b}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBOSLies(t *testing.T) {
	for text, says := range map[string]string{
		"":                                    "0 bytes that are no BOS",
		"05 0f 05 00":                         "4 bytes that are no BOS",
		"05 02 05 00 00":                      "5 bytes that are no BOS",
		"04 0f 05 00 00":                      "no BOS",
		"ff 0f 05 00 00":                      "no BOS",
		"05 0f 00 00 00":                      "0 bytes in all are claimed, 5 are here",
		"05 0f 05 00 02":                      "2 capabilities are claimed, 0 are here",
		"05 0f 07 00 01 00 10":                "offset 5: a descriptor of 0 bytes, 2 are left",
		"05 0f 07 00 01 02 10":                "offset 5: a descriptor of 2 bytes",
		"05 0f 08 00 01 04 10 02":             "offset 5: a descriptor of 4 bytes, 3 are left",
		"05 0f 08 00 01 03 10 02":             "offset 5: a capability of type 0x02 has 3 bytes instead of 7",
		"05 0f 08 00 01 03 24 02":             "offset 5: a descriptor of type 0x24 in a BOS",
		"05 0f ff ff 01 07 10 02 02 00 00 00": "65535 bytes in all are claimed, 12 are here",
	} {
		b, err := usb.ParseBOS(bin(t, text))
		var wrong *usb.DescriptorError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
		if b.USB2.Present != strings.Contains(text, "07 10 02") {
			t.Errorf("%s: %+v", text, b)
		}
	}
}

func TestReadBOS(t *testing.T) {
	tr := desk(t)
	must(t, tr.Put("sys/bus/usb/devices/1-2/bos_descriptors", bin(t, "05 0f 0c 00 01 07 10 02 02 00 00 00")))
	if b, err := usb.ReadBOS(tr, path("1-2")); err != nil || !b.USB2.LPM || b.SuperSpeed.Present {
		t.Errorf("%+v, %v", b, err)
	}
	var op *usb.OpError
	if _, err := usb.ReadBOS(tr, path("1-5")); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Path != path("1-5") {
		t.Errorf("none: %v", err)
	}
	must(t, tr.Put("sys/bus/usb/devices/1-2/bos_descriptors", nil))
	if _, err := usb.ReadBOS(tr, path("1-2")); !errors.As(err, &op) {
		t.Errorf("empty: %v", err)
	}
}
