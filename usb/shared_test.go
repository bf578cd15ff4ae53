package usb_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/usb"
)

func TestRawDescriptors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "usb", "raw"), "*.bin"))
	must(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		d, err := usb.ParseDescriptors(data)
		if err != nil || len(d.Configurations) != 1 || d.Configurations[0].TotalLength+18 != len(data) || len(d.Configurations[0].Interfaces) == 0 {
			t.Errorf("%s: %+v, %v", filepath.Base(file), d, err)
			continue
		}
		if got := fmt.Sprintf("%v_%v", d.Device.Vendor, d.Device.Product); !strings.HasPrefix(filepath.Base(file), got) {
			t.Errorf("%s: %s", filepath.Base(file), got)
		}
	}
	t.Logf("descriptors parsed: %d", len(files))
	if len(files) < 20 {
		t.Errorf("%d files", len(files))
	}
}

// TestUSBGuard compares with what another program made of the same bytes, field by
// field.
func TestUSBGuard(t *testing.T) {
	data, err := os.ReadFile(hosttest.Shared(t, "hwdata", "usb", "usbguard", "0001.bin"))
	must(t, err)
	text, err := os.ReadFile(hosttest.Shared(t, "hwdata", "usb", "usbguard", "0001.out"))
	must(t, err)
	d, err := usb.ParseDescriptors(data)
	must(t, err)
	// In the other program's words, without what it does not know.
	var got strings.Builder
	say := func(key, format string, args ...any) { fmt.Fprintf(&got, key+": "+format+"\n", args...) }
	got.WriteString("Device\n")
	say("bcdUSB", "0x%v", d.Device.USB)
	say("bDeviceClass", "%#02x", d.Device.Class.Base())
	say("bDeviceSubClass", "0x%02x", d.Device.Class.Sub())
	say("bDeviceProtocol", "0x%02x", d.Device.Class.Protocol())
	say("bMaxPacketSize", "%d", d.Device.MaxPacket)
	say("idVendor", "0x%v", d.Device.Vendor)
	say("idProduct", "0x%v", d.Device.Product)
	say("bcdDevice", "0x%v", d.Device.Release)
	say("iManufacturer", "%d", d.Device.ManufacturerIndex)
	say("iSerialNumber", "%d", d.Device.SerialIndex)
	say("bNumConfigurations", "%d", d.Device.Configurations)
	unknown := map[string]int{}
	for _, c := range d.Configurations {
		got.WriteString("Configuration\n")
		say("wTotalLength", "%d", c.TotalLength)
		say("bNumInterfaces", "%d", c.NumInterfaces)
		say("bConfigurationValue", "%d", c.Value)
		say("iConfiguration", "%d", c.StringIndex)
		attributes := 0x80
		if c.SelfPowered {
			attributes |= 0x40
		}
		if c.RemoteWakeup {
			attributes |= 0x20
		}
		say("bmAttributes", "%x", attributes)
		say("bMaxPower", "%d", c.MaxPower/2)
		unknown["type=0b length=8"] += len(c.Associations)
		for _, in := range c.Interfaces {
			got.WriteString("Interface\n")
			say("bInterfaceNumber", "%d", in.Number)
			say("bAlternateSetting", "%d", in.Alternate)
			say("bNumEndpoints", "%d", len(in.Endpoints))
			say("bInterfaceClass", "%d", in.Class.Base())
			say("bInterfaceSubClass", "%d", in.Class.Sub())
			say("bInterfaceProtocol", "%d", in.Class.Protocol())
			say("iInterface", "%d", in.StringIndex)
			for _, r := range in.Extra {
				unknown[fmt.Sprintf("type=%02x length=%d", r.Type(), len(r.Bytes))]++
			}
			for _, e := range in.Endpoints {
				got.WriteString("Endpoint\n")
				say("bEndpointAddress", "%d", e.Address)
				say("bmAttributes", "0x%02x", e.Attributes)
				say("wMaxPacketSize", "%d", e.MaxPacket)
				say("bInterval", "%d", e.Interval)
			}
		}
	}
	var want strings.Builder
	wantUnknown := map[string]int{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, _, isField := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(line, "UNKNOWN Descriptor: "):
			wantUnknown[strings.TrimPrefix(line, "UNKNOWN Descriptor: ")]++
		case strings.Contains(line, " Descriptor: "):
			want.WriteString(strings.Fields(line)[0] + "\n")
		case isField && !strings.Contains(key, " "):
			want.WriteString(line + "\n")
		}
	}
	if got.String() != want.String() {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want.String())
	}
	if fmt.Sprint(unknown) != fmt.Sprint(wantUnknown) {
		t.Errorf("got %v, want %v", unknown, wantUnknown)
	}
	if n := strings.Count(want.String(), "\n"); n < 100 {
		t.Errorf("%d lines", n)
	}
}

// fwupdDevice is a device as fwupd records it: decoded descriptors.
type fwupdDevice struct {
	PlatformID                                  string `json:"PlatformId"`
	USB, IdVendor, IdProduct, Device            uint16
	DeviceClass, DeviceSubClass, DeviceProtocol uint8
	Manufacturer, Product, SerialNumber         uint8
	UsbBosDescriptors                           []struct {
		DevCapabilityType uint8
		ExtraData         []byte
	}
	UsbConfigDescriptors []struct{ Configuration, ConfigurationValue uint8 }
	UsbInterfaces        []struct {
		InterfaceNumber, AlternateSetting                    uint8
		InterfaceClass, InterfaceSubClass, InterfaceProtocol uint8
		Interface                                            uint8
		ExtraData                                            []byte
		UsbEndpoints                                         []struct {
			EndpointAddress, Interval uint8
			MaxPacketSize             uint16
		}
	}
}

// raw returns the bytes that the recording was decoded from, as far as it has them.
func (d fwupdDevice) raw() []byte {
	value, index := uint8(1), uint8(0)
	for _, c := range d.UsbConfigDescriptors {
		value, index = c.ConfigurationValue, c.Configuration
	}
	all := []byte{9, 2, 0, 0, byte(len(d.UsbInterfaces)), value, index, 0x80, 50}
	for _, i := range d.UsbInterfaces {
		all = append(all, 9, 4, i.InterfaceNumber, i.AlternateSetting, byte(len(i.UsbEndpoints)), i.InterfaceClass, i.InterfaceSubClass, i.InterfaceProtocol, i.Interface)
		all = append(all, i.ExtraData...)
		for _, e := range i.UsbEndpoints {
			all = append(all, 7, 5, e.EndpointAddress, 2)
			all = append(binary.LittleEndian.AppendUint16(all, e.MaxPacketSize), e.Interval)
		}
	}
	binary.LittleEndian.PutUint16(all[2:], uint16(len(all)))
	head := []byte{18, 1, byte(d.USB), byte(d.USB >> 8), d.DeviceClass, d.DeviceSubClass, d.DeviceProtocol, 9}
	for _, v := range []uint16{d.IdVendor, d.IdProduct, d.Device} {
		head = binary.LittleEndian.AppendUint16(head, v)
	}
	return append(append(head, d.Manufacturer, d.Product, d.SerialNumber, 1), all...)
}

func TestFwupd(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "usb", "fwupd"), "*.json"))
	must(t, err)
	parsed, bos, raw := 0, 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		var list struct{ UsbDevices []fwupdDevice }
		must(t, json.Unmarshal(text, &list))
		for _, want := range list.UsbDevices {
			if want.UsbInterfaces == nil {
				continue // a device of another bus
			}
			parsed++
			name := filepath.Base(file) + " " + want.PlatformID
			d, err := usb.ParseDescriptors(want.raw())
			if err != nil || len(d.Configurations) != 1 {
				t.Errorf("%s: %+v, %v", name, d, err)
				continue
			}
			compareFwupd(t, name, d, want)
			if want.UsbBosDescriptors != nil {
				bos++
				compareBOS(t, name, want)
			}
		}
		for _, m := range regexp.MustCompile(`"(EgE[A-Za-z0-9+/=]+)"`).FindAllSubmatch(text, -1) {
			data, err := base64.StdEncoding.DecodeString(string(m[1]))
			must(t, err)
			data = data[:18+int(binary.LittleEndian.Uint16(data[20:]))] // the buffer was larger
			if d, err := usb.ParseDescriptors(data); err != nil || len(d.Configurations) != 1 || len(d.Configurations[0].Interfaces) != d.Configurations[0].NumInterfaces {
				t.Errorf("%s: %+v, %v", filepath.Base(file), d, err)
			}
			raw++
		}
	}
	t.Logf("descriptors parsed: %d decoded, %d raw, %d BOS", parsed, raw, bos)
	if parsed < 5 || bos < 3 || raw < 2 {
		t.Errorf("descriptors parsed: %d decoded, %d raw, %d BOS", parsed, raw, bos)
	}
}

func compareFwupd(t *testing.T, name string, d usb.Descriptors, want fwupdDevice) {
	t.Helper()
	if d.Device.USB.Uint16() != want.USB || d.Device.Vendor.Uint16() != want.IdVendor || d.Device.Product.Uint16() != want.IdProduct ||
		d.Device.Release.Uint16() != want.Device || d.Device.Class != usb.NewClass(want.DeviceClass, want.DeviceSubClass, want.DeviceProtocol) {
		t.Errorf("%s: %+v", name, d.Device)
	}
	set := map[int]string{}
	for i, w := range want.UsbInterfaces {
		in := d.Configurations[0].Interfaces[i]
		class := usb.NewClass(w.InterfaceClass, w.InterfaceSubClass, w.InterfaceProtocol)
		if in.Number != int(w.InterfaceNumber) || in.Alternate != int(w.AlternateSetting) || in.Class != class || in.StringIndex != w.Interface || len(in.Endpoints) != len(w.UsbEndpoints) {
			t.Errorf("%s: %+v, want %+v", name, in, w)
			continue
		}
		if w.AlternateSetting == 0 {
			set[in.Number] = class.String()
		}
		for j, e := range in.Endpoints {
			w := w.UsbEndpoints[j]
			if e.Address != w.EndpointAddress || e.Interval != w.Interval || uint16(e.MaxPacket|(e.Transactions-1)<<11) != w.MaxPacketSize {
				t.Errorf("%s: %+v, want %+v", name, e, w)
			}
		}
		if h, ok := in.Specific.(usb.HID); (w.ExtraData != nil) != ok || ok && h.ReportLength != int(binary.LittleEndian.Uint16(w.ExtraData[7:])) {
			t.Errorf("%s: %+v", name, in.Specific)
		}
	}
	var classes []string // one of them has its interfaces in another order
	for _, n := range slices.Sorted(maps.Keys(set)) {
		classes = append(classes, set[n])
	}
	if got := d.InterfaceSet(d.Configurations[0].Value); got != strings.Join(classes, "+") {
		t.Errorf("%s: %s, want %s", name, got, strings.Join(classes, "+"))
	}
}

func compareBOS(t *testing.T, name string, want fwupdDevice) {
	t.Helper()
	all := []byte{5, 15, 0, 0, byte(len(want.UsbBosDescriptors))}
	for _, c := range want.UsbBosDescriptors {
		all = append(append(all, byte(3+len(c.ExtraData)), 16, c.DevCapabilityType), c.ExtraData...)
	}
	binary.LittleEndian.PutUint16(all[2:], uint16(len(all)))
	b, err := usb.ParseBOS(all)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	for _, c := range want.UsbBosDescriptors {
		has := slices.ContainsFunc(b.Extra, func(r usb.RawDescriptor) bool { return bytes.Equal(r.Bytes[3:], c.ExtraData) })
		switch c.DevCapabilityType {
		case 2:
			has = b.USB2.Present && b.USB2.LPM == (c.ExtraData[0]&2 != 0)
		case 3:
			has = b.SuperSpeed.Present && b.SuperSpeed.U1Exit == int(c.ExtraData[4]) && len(b.SuperSpeed.Speeds) > 0
		case 4:
			has = strings.HasSuffix(b.ContainerID, fmt.Sprintf("%x", c.ExtraData[11:]))
		case 5:
			has = len(b.Platform) > 0
		case 10:
			has = b.SuperSpeedPlus.Present && len(b.SuperSpeedPlus.Sublinks) > 0
		}
		if !has {
			t.Errorf("%s: %+v lacks %+v", name, b, c)
		}
	}
}

// TestAllRecorded parses the descriptors of root hubs, too.
func TestAllRecorded(t *testing.T) {
	n := 0
	for _, file := range recordings(t) {
		tr := recording(t, file)
		must(t, fs.WalkDir(tr, "sys/devices", func(name string, e fs.DirEntry, err error) error {
			if err != nil || filepath.Base(name) != "descriptors" {
				return err
			}
			data, err := fs.ReadFile(tr, name)
			must(t, err)
			d, err := usb.ParseDescriptors(data)
			if err != nil {
				t.Errorf("%s, %s: %v", filepath.Base(file), name, err)
			}
			if power, err := fs.ReadFile(tr, filepath.Dir(name)+"/bMaxPower"); err == nil && string(bytes.TrimSpace(power)) != strconv.Itoa(d.Configurations[0].MaxPower)+"mA" {
				t.Errorf("%s, %s: %d mA, not %s", filepath.Base(file), name, d.Configurations[0].MaxPower, power)
			}
			n++
			return nil
		}))
	}
	t.Logf("descriptors parsed: %d, root hubs too", n)
	if n < 30 {
		t.Errorf("descriptors parsed: %d", n)
	}
}
