package laptop_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRoutes has what a default route comes down to, with an Ethernet function, a
// WLAN function, and a USB controller with a phone on it.
func TestRoutes(t *testing.T) {
	const eth, wlan = "pci0000:00/0000:00:1f.6", "pci0000:00/0000:00:1c.0/0000:03:00.0"
	const phone = xhci + "/usb1/1-3/1-3:1.0"
	const viaEth, viaWLAN = ": 0000:00:1f.6\n", ": 0000:00:1c.0 0000:03:00.0\n"
	const free, used, unknown = "assignable", "refused default-route", "unknown route-unknown"
	const v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
	for _, tt := range []struct {
		name            string
		build           func(*host)
		uses            string
		eth, wlan, xhci string
	}{
		{"none", func(h *host) {}, "", free, free, free},
		{"v4", func(h *host) { h.route("eth0", "00000000", "00000000") }, "default-route: default route by eth0" + viaEth, used, free, free},
		{"not the default", func(h *host) {
			h.route("eth0", "0001A8C0", "00FFFFFF")
			h.route("eth0", "00000000", "00000080")
		}, "", free, free, free},
		{"unreachable", func(h *host) {
			h.put("proc/net/route", "Iface\n*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n")
		}, "", free, free, free},
		{"down", func(h *host) {
			h.put("proc/net/route", "eth0\t00000000\t0101A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n")
		}, "", free, free, free},
		{"v6", func(h *host) {
			h.put("proc/net/ipv6_route", v6+"fe800000000000000000000000000001 00000400 00000003 00000000 00450003 wlan0\n"+
				v6+"00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"+
				v6+"00000000000000000000000000000000 00000400 00000001 00000000 00200201 eth0\n"+
				"fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n")
		}, "default-route: default route by wlan0" + viaWLAN, free, used, free},
		{"v6 alone", func(h *host) {
			must(h.t, h.Remove("proc/net/route"))
			h.put("proc/net/ipv6_route", v6+"fe800000000000000000000000000001 00000400 00000003 00000000 00450003 eth0\n")
		}, "default-route: default route by eth0" + viaEth, "refused default-route route-unknown", unknown, unknown},
		{"VLAN over bond", func(h *host) {
			h.net("virtual", "bond0", "eth0", "wlan0")
			h.net("virtual", "bond0.7", "bond0")
			h.route("bond0.7", "00000000", "00000000")
		}, "default-route: default route by bond0.7 over bond0 over eth0" + viaEth +
			"default-route: default route by bond0.7 over bond0 over wlan0" + viaWLAN, used, used, free},
		{"bridge with a guest on it", func(h *host) {
			h.net("virtual", "vnet0")
			h.net("virtual", "br0", "eth0", "vnet0")
			h.route("br0", "00000000", "00000000")
		}, "default-route: default route by br0 over eth0" + viaEth, used, free, free},
		{"circle", func(h *host) {
			h.net("virtual", "a", "b", "eth0")
			h.net("virtual", "b", "a")
			h.route("a", "00000000", "00000000")
		}, "default-route: default route by a over eth0" + viaEth, used, free, free},
		{"tethering", func(h *host) {
			h.net(phone, "enx02", "")
			h.route("enx02", "00000000", "00000000")
		}, "default-route: default route by enx02: 0000:00:14.0 1-3\n", free, free, used},
		{"tunnel alone", func(h *host) {
			h.net("virtual", "tun0")
			h.route("tun0", "00000000", "00000000")
		}, "", unknown, unknown, unknown},
		{"tunnel beside its carrier", func(h *host) {
			h.net("virtual", "tun0")
			h.route("tun0", "00000000", "00000000")
			h.route("wlan0", "00000000", "00000000")
		}, "default-route: default route by wlan0" + viaWLAN, free, used, free},
		{"VPN by halves", func(h *host) {
			h.net("virtual", "tun0")
			h.route("tun0", "00000000", "00000080")
			h.route("tun0", "00000080", "00000080")
			h.route("wlan0", "00000000", "00000000")
		}, "default-route: default route by wlan0" + viaWLAN, free, used, free},
		{"halves by two interfaces", func(h *host) {
			h.route("eth0", "00000000", "00000080")
			h.route("wlan0", "00000080", "00000080")
		}, "default-route: default route by eth0" + viaEth + "default-route: default route by wlan0" + viaWLAN, used, used, free},
		{"a half and two quarters", func(h *host) {
			h.route("eth0", "00000000", "00000080")
			h.route("eth0", "00000080", "000000C0")
			h.route("eth0", "000000C0", "000000C0")
		}, "default-route: default route by eth0" + viaEth, used, free, free},
		{"a quarter is missing", func(h *host) {
			h.route("eth0", "00000000", "00000080")
			h.route("eth0", "00000080", "000000C0")
		}, "", free, free, free},
		{"a half beside the default", func(h *host) {
			h.route("eth0", "00000080", "00000080")
			h.route("wlan0", "00000000", "00000000")
		}, "default-route: default route by wlan0" + viaWLAN, free, used, free},
		{"a mask with a hole", func(h *host) {
			h.route("eth0", "00000000", "00000040")
			h.route("eth0", "00000080", "00000080")
		}, "", free, free, free},
		{"v6 by halves", func(h *host) {
			const half = " 01 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000003 eth0\n"
			h.put("proc/net/ipv6_route", "00000000000000000000000000000000"+half+"80000000000000000000000000000000"+half)
		}, "default-route: default route by eth0" + viaEth, used, free, free},
		{"v6, what is global", func(h *host) {
			const part = "0000000000000000000000000000000 04 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000003 eth0\n"
			h.put("proc/net/ipv6_route", "2"+part+"3"+part)
		}, "default-route: default route by eth0" + viaEth, used, free, free},
		{"team over two", func(h *host) {
			h.net("virtual", "team0", "eth0", "wlan0")
			h.net("virtual", "macvlan0", "team0")
			h.route("macvlan0", "00000000", "00000000")
		}, "default-route: default route by macvlan0 over team0 over eth0" + viaEth +
			"default-route: default route by macvlan0 over team0 over wlan0" + viaWLAN, used, used, free},
		{"on no PCI bus", func(h *host) {
			h.net("platform/80860F14:01/mmc_host/mmc1/mmc1:0001/mmc1:0001:1", "mlan0")
			h.route("mlan0", "00000000", "00000000")
		}, "", free, free, free},
		{"interface that is gone", func(h *host) { h.route("usb7", "00000000", "00000000") }, "", unknown, unknown, unknown},
		{"interface with an impossible name", func(h *host) { h.route("../eth0", "00000000", "00000000") }, "", unknown, unknown, unknown},
		{"lower interface that is gone", func(h *host) {
			h.net("virtual", "br0", "eth0", "eth7")
			h.route("br0", "00000000", "00000000")
		}, "default-route: default route by br0 over eth0" + viaEth, "refused default-route route-unknown", unknown, unknown},
		{"no table", func(h *host) { must(h.t, h.Remove("proc/net/route")) }, "", unknown, unknown, unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			h.function(eth, "020000", "e1000e", 10)
			h.function(wlan, "028000", "iwlwifi", 11)
			h.usb(xhci, "1-3", "224/1/3 rndis_host")
			h.net(eth, "eth0")
			h.net(wlan, "wlan0")
			h.net("virtual", "lo")
			tt.build(h)
			l := h.read()
			if diff := cmp.Diff(tt.uses, uses(l)); diff != "" {
				t.Error(diff)
			}
			expect(t, l, "0000:00:1f.6", tt.eth)
			expect(t, l, "0000:03:00.0", tt.wlan)
			expect(t, l, "0000:00:14.0", tt.xhci+" carries")
			want := "assignable usb-alone"
			switch tt.xhci {
			case used:
				want = "refused default-route usb-alone"
			case unknown:
				want = "unknown route-unknown usb-alone"
			}
			expect(t, l, "1-3", want)
			expect(t, l, "0000:04:00.0", "assignable")
		})
	}
}
