package sim

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	usbDevices = "sys/bus/usb/devices/"
	usbDrivers = "sys/bus/usb/drivers/"
)

// kinds is what the kernel knows of devices that are no PCI functions.
type kinds struct {
	home   map[string]string  // the driver of a USB interface in the saved machine, by directory
	made   map[string][]entry // what that driver made, while it is not bound, by directory
	config map[string]string  // the configuration that a USB device without one had, by directory
	gone   map[string][]entry // USB devices that are unplugged, by port path
}

func newKinds() kinds {
	return kinds{map[string]string{}, map[string][]entry{}, map[string]string{}, map[string][]entry{}}
}

// clone returns a copy that shares nothing that is changed.
func (s kinds) clone() kinds {
	return kinds{maps.Clone(s.home), maps.Clone(s.made), maps.Clone(s.config), maps.Clone(s.gone)}
}

var interfaceName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([0-9]+-[0-9.]+):[0-9]+\.[0-9]+$`)
})

// fillUSB makes what the USB bus has and the saved machine lacks.
func (k *Kernel) fillUSB() {
	for _, name := range k.list(usbDevices) {
		dir, err := k.resolve(usbDevices + name)
		if err != nil || !interfaceName().MatchString(name) || strings.Contains(name, "-0:") {
			continue
		}
		driver := k.linkBase(dir + "/driver")
		if driver == "" {
			continue
		}
		k.kinds.home[dir] = driver
		k.ensureUSBDriver(driver)
		k.symlink(usbDrivers+driver+"/"+name, dir)
	}
	if len(k.list(usbDevices)) > 0 {
		k.ensure("sys/bus/usb/drivers_probe", "")
		for _, driver := range k.list(usbDrivers) {
			k.ensureUSBDriver(driver)
		}
	}
}

func (k *Kernel) ensureUSBDriver(name string) {
	for _, attr := range []string{"bind", "unbind"} {
		k.ensure(usbDrivers+name+"/"+attr, "")
	}
}

// usbInterface finds the interface that a value names, which may end in one newline.
func (k *Kernel) usbInterface(value string) (dir string, ok bool) {
	value, _, _ = strings.Cut(value, "\x00")
	value = strings.TrimSuffix(value, "\n")
	if !interfaceName().MatchString(value) {
		return "", false
	}
	dir, err := k.resolve(usbDevices + value)
	return dir, err == nil && !strings.Contains(value, "-0:") // which is a root hub's
}

// usbBind is bind_store for an interface. The drivers that are modelled take what they
// had in the saved machine, and of that only the interfaces their tables name: the others
// they claim themselves.
func (k *Kernel) usbBind(driver, value string) error {
	dir, ok := k.usbInterface(value)
	switch {
	case !ok || k.kinds.home[dir] != driver || driver == "usbfs" || !k.leads(dir):
		return syscall.ENODEV
	case k.linkBase(dir+"/driver") != "":
		return syscall.EBUSY
	}
	k.usbTake(driver, dir)
	for _, claimed := range k.claimedWith(dir) {
		if k.linkBase(claimed+"/driver") == "" {
			k.usbTake(driver, claimed)
		}
	}
	return nil
}

func (k *Kernel) usbTake(driver, dir string) {
	k.symlink(dir+"/driver", usbDrivers+driver)
	k.symlink(usbDrivers+driver+"/"+base(dir), dir)
	k.ueventLine(dir, driver)
	k.attach(k.kinds.made[dir])
	delete(k.kinds.made, dir)
	k.event()
}

// usbUnbind is unbind_store for an interface.
func (k *Kernel) usbUnbind(driver, value string) error {
	dir, ok := k.usbInterface(value)
	if !ok || k.linkBase(dir+"/driver") != driver {
		return syscall.ENODEV
	}
	k.usbLeave(dir)
	if driver == "snd-usb-audio" || driver == "usbfs" {
		return nil // the others keep it until they are unbound, too
	}
	lead := dir
	if !k.leads(dir) {
		for _, sibling := range k.siblings(dir) {
			if sibling < dir && k.leads(sibling) {
				lead = sibling
			}
		}
	}
	if !k.leads(lead) {
		return nil
	}
	for _, other := range append(k.claimedWith(lead), lead) {
		if other != dir && k.linkBase(other+"/driver") == driver {
			k.usbLeave(other)
		}
	}
	return nil
}

// usbHub is what the driver of hubs says to any interface but a hub's. Those it keeps
// here: nothing takes the hardware away from under the host.
func (k *Kernel) usbHub(value string) error {
	if dir, ok := k.usbInterface(value); ok && k.linkBase(dir+"/driver") == "hub" {
		return syscall.EACCES
	}
	return syscall.ENODEV
}

func (k *Kernel) usbLeave(dir string) {
	driver := k.linkBase(dir + "/driver")
	var made []entry
	entries, _ := k.tree.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && e.Name() != "power" && !strings.HasPrefix(e.Name(), "ep_") && e.Name() != "firmware_node" {
			made = append(made, k.detach(dir+"/"+e.Name())...)
		}
	}
	if driver == k.kinds.home[dir] {
		k.kinds.made[dir] = made
	}
	k.drop(dir + "/driver")
	k.drop(usbDrivers + driver + "/" + base(dir))
	k.ueventLine(dir, "")
	k.event()
}

// siblings lists the other interfaces of the device that the same driver had in the
// saved machine, in the order of their names.
func (k *Kernel) siblings(dir string) []string {
	var all []string
	for other, driver := range k.kinds.home {
		if other != dir && driver == k.kinds.home[dir] && parent(other) == parent(dir) && k.there(other) {
			all = append(all, other)
		}
	}
	slices.Sort(all)
	return all
}

// leads says whether its driver takes the interface by itself: those with the streams or
// the data of another are claimed along with that one.
func (k *Kernel) leads(dir string) bool {
	switch k.kinds.home[dir] {
	case "cdc_acm", "cdc_ether", "cdc_ncm", "cdc_mbim", "rndis_host":
		return k.interfaceClass(dir)[:2] != "0a"
	case "uvcvideo":
		return k.interfaceClass(dir) != "0e02"
	case "snd-usb-audio":
		return k.interfaceClass(dir) != "0102" && k.interfaceClass(dir) != "0103"
	case "btusb":
		return strings.HasSuffix(dir, ".0")
	}
	return true
}

// claimedWith lists the interfaces that the driver of a leading one claims along.
func (k *Kernel) claimedWith(lead string) []string {
	var all []string
	for _, other := range k.siblings(lead) {
		if other < lead {
			continue
		}
		if k.leads(other) {
			break // another function of the device begins
		}
		all = append(all, other)
	}
	return all
}

func (k *Kernel) interfaceClass(dir string) string {
	class := strings.TrimSpace(k.read(dir+"/bInterfaceClass")) + strings.TrimSpace(k.read(dir+"/bInterfaceSubClass"))
	if len(class) != 4 {
		return "0000"
	}
	return class
}

// usbProbe offers what a value names to the drivers, as sys/bus/usb/drivers_probe does.
func (k *Kernel) usbProbe(value string) error {
	dir, ok := k.usbInterface(value)
	if !ok {
		if _, err := k.resolve(usbDevices + strings.TrimSuffix(value, "\n")); err == nil && value != "" && !strings.Contains(value, "/") {
			return nil // a device has its driver
		}
		return syscall.ENODEV
	}
	if home := k.kinds.home[dir]; home != "" && k.linkBase(dir+"/driver") == "" {
		_ = k.usbBind(home, base(dir))
	}
	return nil
}

// usbConfigure is bConfigurationValue_store. Only the configuration of the saved machine
// is known here, and that there is none.
func (k *Kernel) usbConfigure(dir, value string) error {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	now := strings.TrimSpace(k.read(dir + "/bConfigurationValue"))
	was := now
	if was == "" {
		was = k.kinds.config[dir]
	}
	switch {
	case err != nil || n < -1 || n > 255 || n > 0 && strconv.Itoa(n) != was:
		return syscall.EINVAL
	case strings.TrimSpace(k.read(dir+"/authorized")) == "0" || n <= 0 && now == "":
		return nil
	case n <= 0:
		k.kinds.config[dir] = now
		k.usb[dir] = k.detachInterfaces(dir)
		k.put(dir+"/bConfigurationValue", "")
	default: // the one that is set is set anew: its interfaces go and are found again
		k.attach(k.usb[dir])
		delete(k.usb, dir)
		delete(k.kinds.config, dir)
		k.put(dir+"/bConfigurationValue", was+"\n")
		k.usbRenew(dir)
	}
	k.event()
	return nil
}

// detachInterfaces takes out what hangs on a USB device: its interfaces, and behind a hub
// everything.
func (k *Kernel) detachInterfaces(dir string) []entry {
	gone := []entry{}
	entries, _ := k.tree.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && e.Name() != "power" && e.Name() != "ep_00" {
			gone = append(gone, k.detach(dir+"/"+e.Name())...)
		}
	}
	return gone
}

// usbRenew offers each interface without a driver to the one it has.
func (k *Kernel) usbRenew(dir string) {
	for _, name := range k.list(dir) {
		if interfaceName().MatchString(name) {
			_ = k.usbProbe(name)
		}
	}
}

// resetUSB is USBDEVFS_RESET on the node of the device at a port path, as 001/004. Its
// interfaces keep their drivers: each can start anew, or is bound again. A device that does
// not answer as before is taken for unplugged, and found anew.
func (k *Kernel) resetUSB(path, node string) error {
	dir, err := k.resolve(usbDevices + path)
	if err != nil || interfaceName().MatchString(path) || node != k.usbNode(dir) {
		return syscall.ENOENT
	}
	if strings.HasPrefix(path, "usb") {
		return syscall.EISDIR // a root hub
	}
	if k.USBReset != nil {
		err = k.USBReset(path)
	}
	if errors.Is(err, syscall.ENODEV) {
		if err := errors.Join(k.unplugUSB(path), k.plugUSB(path)); err != nil {
			return err
		}
	}
	return err
}

func (k *Kernel) usbNode(dir string) string {
	bus, _, _ := strings.Cut(base(dir), "-")
	b, berr := strconv.Atoi(bus)
	n, nerr := strconv.Atoi(strings.TrimSpace(k.read(dir + "/devnum")))
	if berr != nil || nerr != nil {
		return ""
	}
	return fmt.Sprintf("%03d/%03d", b, n)
}

// UnplugUSB takes the device at a port path out of its port, with what hangs on it.
func (k *Kernel) UnplugUSB(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unplugUSB(path)
}

func (k *Kernel) unplugUSB(path string) error {
	return guard(func() error {
		dir, err := k.resolve(usbDevices + path)
		if err != nil || interfaceName().MatchString(path) {
			return fmt.Errorf("sim: no USB device %q", path)
		}
		for _, name := range k.list(dir) {
			if other := dir + "/" + name; interfaceName().MatchString(name) && k.kinds.home[other] != "" {
				// What its drivers made goes with it and comes back with it.
				k.attach(k.kinds.made[other])
				delete(k.kinds.made, other)
			}
		}
		if gone := k.usb[dir]; gone != nil {
			k.attach(gone)
			delete(k.usb, dir)
		}
		k.kinds.gone[path] = k.detach(dir)
		k.event()
		return nil
	})
}

// PlugUSB puts a device that was unplugged back into its port, as the kernel's next: with
// another number, and with the drivers that take it.
func (k *Kernel) PlugUSB(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.plugUSB(path)
}

func (k *Kernel) plugUSB(path string) error {
	return guard(func() error {
		entries := k.kinds.gone[path]
		if entries == nil {
			return fmt.Errorf("sim: no USB device %q was unplugged", path)
		}
		delete(k.kinds.gone, path)
		number := 0
		for _, e := range entries {
			if base(e.name) == "devnum" && base(parent(e.name)) == path {
				number, _ = strconv.Atoi(strings.TrimSpace(string(e.data)))
			}
		}
		k.attach(renumbered(entries, path, number, number+1))
		dir, err := k.resolve(usbDevices + path)
		if err != nil {
			return err
		}
		for _, name := range k.list(dir) {
			other := dir + "/" + name
			if home := k.kinds.home[other]; home != "" && k.linkBase(other+"/driver") != home {
				k.drop(other + "/driver")
				k.usbTake(home, other)
			}
		}
		k.event()
		return nil
	})
}

// renumbered gives the device at path among entries another number.
func renumbered(entries []entry, path string, from, to int) []entry {
	bus, _, _ := strings.Cut(path, "-")
	b, _ := strconv.Atoi(bus)
	node := func(n int) string { return fmt.Sprintf("bus/usb/%03d/%03d", b, n) }
	all := slices.Clone(entries)
	for i, e := range all {
		switch {
		case e.name == "dev/"+node(from):
			all[i].name = "dev/" + node(to)
		case base(e.name) == "devnum" && base(parent(e.name)) == path:
			all[i].data = []byte(strconv.Itoa(to) + "\n")
		case base(e.name) == "uevent":
			text := strings.ReplaceAll(string(e.data), "DEVNAME="+node(from)+"\n", "DEVNAME="+node(to)+"\n")
			all[i].data = []byte(strings.ReplaceAll(text, fmt.Sprintf("DEVNUM=%03d\n", from), fmt.Sprintf("DEVNUM=%03d\n", to)))
		}
	}
	return all
}

// ueventLine brings the line DRIVER= of the uevent file in dir up to date. It comes after
// that of the type, which functions of PCI do not have.
func (k *Kernel) ueventLine(dir, driver string) {
	data, err := k.tree.ReadFile(dir + "/uevent")
	if err != nil {
		return
	}
	var before, after strings.Builder
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "DEVTYPE=") {
			before.WriteString(after.String() + line)
			after.Reset()
			continue
		}
		if !strings.HasPrefix(line, "DRIVER=") {
			after.WriteString(line)
		}
	}
	if driver != "" {
		before.WriteString("DRIVER=" + driver + "\n")
	}
	k.put(dir+"/uevent", before.String()+after.String())
}

func (k *Kernel) there(name string) bool {
	_, err := k.tree.Lstat(name)
	return err == nil
}

func parent(name string) string { return name[:max(strings.LastIndexByte(name, '/'), 0)] }
