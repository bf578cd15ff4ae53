package main

import (
	"fmt"
	"strconv"
)

// A product is a USB device as its maker sells it.
type product struct {
	vendor, id uint16
	class      [3]uint8
	interfaces []face
}

type face struct {
	class  [3]uint8
	driver string
}

func products() []product {
	return []product{
		{0x04f2, 0xb6cb, [3]uint8{0xef, 2, 1}, []face{{[3]uint8{0x0e, 1, 0}, "uvcvideo"}, {[3]uint8{0x0e, 2, 0}, "uvcvideo"}}},
		{0x8087, 0x0026, [3]uint8{0xe0, 1, 1}, []face{{[3]uint8{0xe0, 1, 1}, "btusb"}, {[3]uint8{0xe0, 1, 1}, "btusb"}}},
		{0x06cb, 0x00bd, [3]uint8{0xff, 0, 0}, []face{{[3]uint8{0xff, 0, 0}, ""}}},
		{0x046d, 0xc31c, [3]uint8{0, 0, 0}, []face{{[3]uint8{3, 1, 1}, "usbhid"}, {[3]uint8{3, 0, 0}, "usbhid"}}},
		{0x0951, 0x1666, [3]uint8{0, 0, 0}, []face{{[3]uint8{8, 6, 0x50}, "usb-storage"}}},
	}
}

func hub() product {
	return product{0x1d6b, 0x0002, [3]uint8{9, 0, 1}, []face{{[3]uint8{9, 0, 0}, "hub"}}}
}

const (
	hubsOfBus    = 14
	devicesOfHub = 7
)

// usb writes n USB devices besides hubs, seven at each hub, fourteen hubs at each
// bus, all of it at the laptop's controller.
func (t *tree) usb(n int) {
	const controller = "sys/devices/pci0000:00/0000:00:14.0"
	number := 0 // of the device on its bus
	for i := range n {
		bus, inBus := i/(hubsOfBus*devicesOfHub)+1, i%(hubsOfBus*devicesOfHub)
		root := fmt.Sprintf("%s/usb%d", controller, bus)
		if inBus == 0 {
			number = 1
			t.device(root, "usb"+strconv.Itoa(bus), fmt.Sprintf("%d-0", bus), bus, number, hub())
		}
		port := fmt.Sprintf("%d-%d", bus, inBus/devicesOfHub+1)
		if inBus%devicesOfHub == 0 {
			number++
			t.device(root+"/"+port, port, port, bus, number, hub())
		}
		number++
		name := fmt.Sprintf("%s.%d", port, inBus%devicesOfHub+1)
		all := products()
		t.device(root+"/"+port+"/"+name, name, name, bus, number, all[i%len(all)])
	}
}

// device writes the device name into dir, with its interfaces, whose names begin
// with path.
func (t *tree) device(dir, name, path string, bus, number int, p product) {
	ids := fmt.Sprintf("PRODUCT=%x/%x/100\nTYPE=%d/%d/%d", p.vendor, p.id, p.class[0], p.class[1], p.class[2])
	t.dir(dir)
	t.file(dir+"/uevent", fmt.Sprintf("MAJOR=189\nMINOR=%d\nDEVNAME=bus/usb/%03d/%03d\nDEVTYPE=usb_device\nDRIVER=usb\n%s\nBUSNUM=%03d\nDEVNUM=%03d",
		(bus-1)*128+number-1, bus, number, ids, bus, number))
	for _, a := range [][2]string{
		{"idVendor", fmt.Sprintf("%04x", p.vendor)}, {"idProduct", fmt.Sprintf("%04x", p.id)}, {"bcdDevice", "0100"},
		{"bDeviceClass", fmt.Sprintf("%02x", p.class[0])}, {"bDeviceSubClass", fmt.Sprintf("%02x", p.class[1])},
		{"bDeviceProtocol", fmt.Sprintf("%02x", p.class[2])}, {"busnum", strconv.Itoa(bus)}, {"devnum", strconv.Itoa(number)},
		{"bNumInterfaces", fmt.Sprintf("%2d", len(p.interfaces))}, {"bConfigurationValue", "1"}, {"bNumConfigurations", "1"},
		{"speed", "480"}, {"version", " 2.00"}, {"maxchild", "0"}, {"authorized", "1"}, {"bMaxPower", "100mA"}, {"bmAttributes", "a0"},
		{"bMaxPacketSize0", "64"}, {"configuration", ""}, {"rx_lanes", "1"}, {"tx_lanes", "1"},
	} {
		t.attribute(dir, a[0], a[1])
	}
	t.link("sys/bus/usb/devices/"+name, dir)
	t.link(dir+"/subsystem", "sys/bus/usb")
	t.link(dir+"/driver", "sys/bus/usb/drivers/usb")
	t.link("sys/bus/usb/drivers/usb/"+name, dir)
	for i, f := range p.interfaces {
		own := fmt.Sprintf("%s:1.%d", path, i)
		at := dir + "/" + own
		driver := ""
		if f.driver != "" {
			driver = "DRIVER=" + f.driver + "\n"
		}
		modalias := fmt.Sprintf("usb:v%04Xp%04Xd0100dc%02Xdsc%02Xdp%02Xic%02Xisc%02Xip%02Xin%02X", p.vendor, p.id,
			p.class[0], p.class[1], p.class[2], f.class[0], f.class[1], f.class[2], i)
		t.dir(at)
		t.file(at+"/uevent", fmt.Sprintf("DEVTYPE=usb_interface\n%s%s\nINTERFACE=%d/%d/%d\nMODALIAS=%s", driver, ids, f.class[0], f.class[1], f.class[2], modalias))
		for _, a := range [][2]string{
			{"bInterfaceNumber", fmt.Sprintf("%02x", i)}, {"bAlternateSetting", " 0"}, {"bNumEndpoints", "01"},
			{"bInterfaceClass", fmt.Sprintf("%02x", f.class[0])}, {"bInterfaceSubClass", fmt.Sprintf("%02x", f.class[1])},
			{"bInterfaceProtocol", fmt.Sprintf("%02x", f.class[2])}, {"modalias", modalias},
		} {
			t.attribute(at, a[0], a[1])
		}
		t.link("sys/bus/usb/devices/"+own, at)
		t.link(at+"/subsystem", "sys/bus/usb")
		if f.driver != "" {
			t.link(at+"/driver", "sys/bus/usb/drivers/"+f.driver)
			t.link("sys/bus/usb/drivers/"+f.driver+"/"+own, at)
		}
	}
}
