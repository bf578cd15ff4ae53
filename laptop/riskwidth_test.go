package laptop_test

import (
	"fmt"
	"strings"
	"testing"
)

// The size of a BAR that can be resized is that which it has when it is asked for: the
// firmware of the host, its driver, or whoever writes to resourceN_resize may have changed
// it since the machine was read, and only what it has is what a guest needs room for.
func TestResizedBAR(t *testing.T) {
	const port, card = "pci0000:00/0000:00:01.0", "pci0000:00/0000:00:01.0/0000:01:00.0"
	h := laptopHost(t)
	h.function(port, "060400", "pcieport", 20)
	h.function(card, "030000", "", 21)
	h.put("sys/devices/"+card+"/reset_method", "flr bus\n")
	h.put("proc/cpuinfo", "address sizes : 39 bits physical, 48 bits virtual\n")
	const mib = uint64(1) << 20
	resize := func(size uint64) {
		const at = uint64(0x6000000000)
		none := "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
		h.put("sys/devices/"+card+"/resource", fmt.Sprintf("%#016x %#016x 0x000000000014220c\n", at, at+size-1)+none+
			"0x0000006f00000000 0x0000006f01ffffff 0x000000000014220c\n"+strings.Repeat(none, 10))
		h.put("sys/devices/"+card+"/resource0_resize", "000000000001ff00\n") // 256 MiB to 64 GiB
	}
	resize(256 * mib)
	l := h.read()
	for _, c := range []struct {
		size uint64 // in MiB
		want string // of the window that the guest needs
	}{
		{256, ""},
		{8 << 10, ""},
		{32 << 10, ""}, // with the other BAR it is the eighth that the firmware offers
		{64 << 10, "X-PciMmio64Mb=131072"},
		{512, ""},
	} {
		resize(c.size * mib)
		got, findings := risks(t, h, l, "0000:01:00.0")
		if c.want == "" {
			if strings.Contains(got, "bar-width") {
				t.Errorf("%d MiB: %s", c.size, got)
			}
			continue
		}
		if got != "warning bar-width 0000:01:00.0" {
			t.Errorf("%d MiB: %q", c.size, got)
			continue
		}
		f := findings[0]
		if !strings.Contains(f.Detail, "need 128 GiB above 4 GiB in the guest, and its firmware offers 64 GiB") || !strings.Contains(f.Remedy, c.want) ||
			!strings.Contains(f.Remedy, "if its size can be set") || !strings.HasSuffix(f.Evidence, "0000:01:00.0/resource") {
			t.Errorf("%d MiB: %+v", c.size, f)
		}
	}
}
