package sim

import (
	"net"
	"strconv"
	"strings"
	"syscall"
)

// rtnetlink is where the host's door shows what rtnetlink says of virtual functions:
// rtnetlink/ADDRESS/vf/NUMBER, with the address of the physical one.
const rtnetlink = "rtnetlink/"

// sriovAutoprobe is sriov_drivers_autoprobe_store.
func (k *Kernel) sriovAutoprobe(dev *device, value string) error {
	on, err := kernelBool(value)
	if err != nil {
		return err
	}
	k.put(dev.path+"/sriov_drivers_autoprobe", map[bool]string{true: "1\n", false: "0\n"}[on])
	return nil
}

// kernelBool reads one as kstrtobool does, which looks at the beginning.
func kernelBool(value string) (bool, error) {
	lower := strings.ToLower(value)
	switch {
	case lower != "" && strings.Contains("1yt", lower[:1]), strings.HasPrefix(lower, "on"):
		return true, nil
	case lower != "" && strings.Contains("0nf", lower[:1]), strings.HasPrefix(lower, "of"):
		return false, nil
	}
	return false, syscall.EINVAL
}

// vfGroup is the group that a new virtual function of pf comes into: one of its own, or
// that of pf where something in the way to memory keeps nothing apart, of which the sign
// is that pf shares its group with another device.
func (k *Kernel) vfGroup(pf *device) string {
	if pf.group == "" {
		return ""
	}
	for _, other := range k.list(groupsDir + pf.group + "/devices") {
		d := k.dev[other]
		if d == nil || d.physfn == nil && other[:len(other)-1] != pf.addr[:len(pf.addr)-1] {
			return groupsDir + pf.group
		}
	}
	return k.newGroup(pf.group)
}

// newGroup makes a group like another.
func (k *Kernel) newGroup(like string) string {
	n := 0
	for k.there(groupsDir + strconv.Itoa(n)) {
		n++
	}
	group := groupsDir + strconv.Itoa(n)
	for _, attr := range []string{"type", "reserved_regions"} {
		if text := k.read(groupsDir + like + "/" + attr); like != "" && text != "" {
			k.put(group+"/"+attr, text)
		}
	}
	return group
}

// showVF shows what rtnetlink says of a new virtual function. Without a network driver
// there is nothing.
func (k *Kernel) showVF(pf *device, n int) {
	if len(k.list(pf.path+"/net")) == 0 {
		return
	}
	dir := rtnetlink + pf.addr + "/vf/" + strconv.Itoa(n) + "/"
	k.put(dir+"mac", "00:00:00:00:00:00\n")
	k.put(dir+"vlan", "0\n")
	k.put(dir+"spoofchk", "on\n")
}

// hideVFs takes away what rtnetlink says of virtual functions that are gone.
func (k *Kernel) hideVFs(pf *device) {
	k.drop(rtnetlink + pf.addr)
	if len(k.list(rtnetlink)) == 0 {
		k.drop(strings.TrimSuffix(rtnetlink, "/"))
	}
}

// setVF is what a network driver makes of the settings of a virtual function.
func (k *Kernel) setVF(name, value string) error {
	value = strings.TrimSpace(value)
	switch base(name) {
	case "mac":
		mac, err := net.ParseMAC(value)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return syscall.EINVAL
		}
		value = mac.String()
	case "vlan":
		if n, err := strconv.ParseUint(value, 10, 16); err != nil || n > 4095 {
			return syscall.EINVAL
		}
	case "spoofchk":
		if value != "on" && value != "off" {
			return syscall.EINVAL
		}
	}
	k.put(name, value+"\n")
	return nil
}
