package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// driverOverride is driver_set_override of the kernel: the value ends at a NUL or
// a newline; one that is empty then clears the override.
func (k *Kernel) driverOverride(dev *device, value string) error {
	if len(value) >= pageSize-1 {
		return syscall.EINVAL
	}
	value, _, _ = strings.Cut(value, "\x00")
	value, _, _ = strings.Cut(value, "\n")
	dev.override, dev.overridden = value, value != ""
	k.showOverride(dev)
	return nil
}

func (k *Kernel) showOverride(dev *device) {
	text := "(null)"
	if dev.overridden {
		text = dev.override
	}
	k.put(dev.path+"/driver_override", text+"\n")
}

// number reads one as kstrtoul does: one newline may follow, nothing else.
func number(value string) (uint64, error) {
	value = strings.TrimPrefix(strings.TrimSuffix(value, "\n"), "+")
	if strings.ContainsAny(value, "_oObB") && !strings.HasPrefix(value, "0x") {
		return 0, syscall.EINVAL
	}
	n, err := strconv.ParseUint(value, 0, 64)
	switch {
	case err == nil:
		return n, nil
	case n != 0:
		return 0, syscall.ERANGE
	}
	return 0, syscall.EINVAL
}

func (k *Kernel) reset(dev *device, value string) error {
	n, err := number(value)
	switch {
	case err != nil || n != 1:
		return syscall.EINVAL
	}
	for _, m := range dev.enabled {
		err := k.resetBy(dev, m)
		if err != syscall.ENOTTY {
			return err
		}
	}
	return syscall.ENOTTY
}

// resetBy is one method of pci_reset_function. That of the bus is tried only by a
// function that is alone on it.
func (k *Kernel) resetBy(dev *device, method string) error {
	if method == "bus" {
		bus := dev.path[:strings.LastIndexByte(dev.path, '/')]
		for _, other := range k.dev {
			if other != dev && other.path[:strings.LastIndexByte(other.path, '/')] == bus {
				return syscall.ENOTTY
			}
		}
	}
	if k.ResetFails != nil {
		return k.ResetFails(dev.addr, method)
	}
	return nil
}

func (k *Kernel) resetMethod(dev *device, value string) error {
	value = strings.TrimSpace(value)
	want := strings.Fields(value)
	if value == "default" {
		want = dev.methods
	}
	for _, m := range want {
		if !slices.Contains(dev.methods, m) {
			return syscall.EINVAL
		}
	}
	dev.enabled = want
	text := strings.Join(want, " ")
	if text != "" {
		text += "\n"
	}
	k.put(dev.path+"/reset_method", text)
	return nil
}

func (k *Kernel) d3coldAllowed(dev *device, value string) error {
	n, err := number(value)
	if err != nil {
		return syscall.EINVAL
	}
	k.put(dev.path+"/d3cold_allowed", map[bool]string{true: "1\n", false: "0\n"}[n != 0])
	return nil
}

func (k *Kernel) powerControl(name, value string) error {
	value = strings.TrimSuffix(value, "\n")
	if value != "on" && value != "auto" {
		return syscall.EINVAL
	}
	k.put(name, value+"\n")
	return nil
}

// sriovNumVFs is sriov_numvfs_store: the number of virtual functions changes only
// from and to zero.
func (k *Kernel) sriovNumVFs(dev *device, value string) error {
	n, err := number(value)
	total, _ := number(k.read(dev.path + "/sriov_totalvfs"))
	total = min(total, 1024) // a saved machine may say anything
	switch {
	case err != nil:
		return err
	case n > total:
		return syscall.ERANGE
	case n == uint64(len(dev.vfs)):
		return nil
	case dev.driver == nil || dev.driver.stub:
		return syscall.ENOENT // the driver has no sriov_configure
	case n > 0 && len(dev.vfs) > 0:
		return syscall.EBUSY
	}
	k.setVFs(dev, int(n))
	return nil
}

// setVFs makes or takes away the virtual functions of dev.
func (k *Kernel) setVFs(dev *device, n int) {
	if n == len(dev.vfs) {
		return
	}
	for _, vf := range slices.Clone(dev.vfs) {
		k.take(vf)
	}
	dev.vfs = nil
	k.hideVFs(dev)
	var domain, bus, slot, function int
	_, _ = fmt.Sscanf(strings.NewReplacer(":", " ", ".", " ").Replace(dev.addr), "%x %x %x %x", &domain, &bus, &slot, &function)
	offset, _ := number(k.read(dev.path + "/sriov_offset"))
	stride, _ := number(k.read(dev.path + "/sriov_stride"))
	width := strings.IndexByte(dev.addr, ':')
	for i := range n {
		id := bus<<8 + slot<<3 + function + int(offset) + i*int(stride)
		addr := fmt.Sprintf("%0*x:%02x:%02x.%x", width, domain, id>>8, id>>3&31, id&7)
		if k.dev[addr] != nil {
			continue // the saved machine says the offset wrongly
		}
		dir := dev.path[:strings.LastIndexByte(dev.path, '/')+1] + addr
		k.makeVF(dev, addr, dir)
		k.symlink(fmt.Sprintf("%s/virtfn%d", dev.path, i), dir)
		k.showVF(dev, i)
	}
	k.set(dev.path+"/sriov_numvfs", strconv.Itoa(n)+"\n")
}

func (k *Kernel) makeVF(pf *device, addr, dir string) {
	id := hexDigits(k.read(pf.path + "/sriov_vf_device"))
	for attr, v := range map[string]string{
		"vendor": "0x" + pf.vendor, "device": "0x" + id, "class": strings.TrimSpace(k.read(pf.path + "/class")), "reset_method": "flr",
	} {
		k.put(dir+"/"+attr, v+"\n")
	}
	k.symlink(devicesDir+addr, dir)
	k.symlink(dir+"/subsystem", "sys/bus/pci")
	k.symlink(dir+"/physfn", pf.path)
	if group := k.vfGroup(pf); group != "" {
		k.symlink(group+"/devices/"+addr, dir)
		k.symlink(dir+"/iommu_group", group)
	}
	vf := k.adopt(addr, dir)
	vf.physfn = pf
	pf.vfs = append(pf.vfs, vf)
	k.offer(vf)
	k.event()
}

// authorize is the attribute of a USB device: without authorisation it has no
// configuration, so its interfaces are gone, and behind a hub everything.
func (k *Kernel) authorize(dir, value string) error {
	f := strings.Fields(value)
	if len(f) == 0 {
		return syscall.EINVAL
	}
	n, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil {
		return syscall.EINVAL
	}
	if n == 0 && k.usb[dir] == nil {
		k.usb[dir] = k.detachInterfaces(dir)
		k.put(dir+"/authorized", "0\n")
		k.event()
	}
	if n != 0 {
		k.attach(k.usb[dir])
		delete(k.usb, dir)
		k.put(dir+"/authorized", "1\n")
		k.usbRenew(dir)
		k.event()
	}
	return nil
}
