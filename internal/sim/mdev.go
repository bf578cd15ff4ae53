package sim

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	mdevDevices = "sys/bus/mdev/devices/"
	mdevDrivers = "sys/bus/mdev/drivers/"
	mdevParents = "sys/class/mdev_bus/"
)

var uuidName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
})

// fillMdev makes the doors that parents of mediated devices have.
func (k *Kernel) fillMdev() {
	for _, parent := range k.list(mdevParents) {
		dir, err := k.resolve(mdevParents + parent)
		if err != nil {
			continue
		}
		for _, kind := range k.list(dir + "/mdev_supported_types") {
			k.ensure(dir+"/mdev_supported_types/"+kind+"/create", "")
			must(k.tree.Mkdir(dir + "/mdev_supported_types/" + kind + "/devices"))
		}
		for _, name := range k.list(dir) {
			if uuidName().MatchString(name) {
				k.ensure(dir+"/"+name+"/remove", "")
			}
		}
		must(k.tree.Mkdir(strings.TrimSuffix(mdevDevices, "/")))
		if len(k.list(mdevDrivers)) == 0 {
			must(k.tree.Mkdir(mdevDrivers + "vfio_mdev"))
		}
	}
}

// kindsDoor is [Kernel.door] for what is no PCI function.
func (k *Kernel) kindsDoor(dir, attr string) func(value string) error {
	switch {
	case dir == "sys/bus/usb" && attr == "drivers_probe":
		return k.usbProbe
	case parent(dir)+"/" == usbDrivers && base(dir) != "usb" && base(dir) != "hub":
		switch attr {
		case "bind":
			return func(v string) error { return k.usbBind(base(dir), v) }
		case "unbind":
			return func(v string) error { return k.usbUnbind(base(dir), v) }
		}
	case attr == "bConfigurationValue":
		return func(v string) error { return k.usbConfigure(dir, v) }
	case attr == "create" && base(parent(dir)) == "mdev_supported_types":
		return func(v string) error { return k.mdevCreate(dir, v) }
	case attr == "remove" && uuidName().MatchString(base(dir)):
		return func(v string) error { return k.mdevRemove(dir, v) }
	case strings.HasPrefix(dir, rtnetlink):
		return func(v string) error { return k.setVF(dir+"/"+attr, v) }
	}
	return nil
}

// mdevCreate is create_store of a type.
func (k *Kernel) mdevCreate(kind, value string) error {
	const length = 36
	if len(value) < length || len(value) > length+1 {
		return syscall.EINVAL
	}
	uuid := strings.ToLower(value[:length])
	if !uuidName().MatchString(uuid) {
		return syscall.EINVAL
	}
	if k.there(mdevDevices + uuid) {
		return syscall.EEXIST
	}
	if !k.mdevCount(kind, -1) {
		return syscall.EUSERS
	}
	up := parent(parent(kind))
	dir := up + "/" + uuid
	driver := k.list(mdevDrivers)[0]
	k.put(dir+"/uevent", "DRIVER="+driver+"\nMODALIAS=mdev:\n")
	k.put(dir+"/remove", "")
	k.symlink(dir+"/mdev_type", kind)
	k.symlink(dir+"/subsystem", "sys/bus/mdev")
	k.symlink(mdevDevices+uuid, dir)
	k.symlink(kind+"/devices/"+uuid, dir)
	k.symlink(dir+"/driver", mdevDrivers+driver)
	k.symlink(mdevDrivers+driver+"/"+uuid, dir)
	group := k.newGroup("")
	k.put(group+"/type", "unknown\n")
	k.symlink(group+"/devices/"+uuid, dir)
	k.symlink(dir+"/iommu_group", group)
	k.ensure("dev/vfio/"+base(group), "")
	k.event()
	return nil
}

// mdevCount changes the number of devices that can be made of a type, if it is stated.
func (k *Kernel) mdevCount(kind string, by int) bool {
	name := kind + "/available_instances"
	n, err := strconv.Atoi(strings.TrimSpace(k.read(name)))
	if err != nil {
		return true
	}
	if n+by < 0 {
		return false
	}
	k.put(name, strconv.Itoa(n+by)+"\n")
	return true
}

// mdevRemove is remove_store of a mediated device.
func (k *Kernel) mdevRemove(dir, value string) error {
	if n, err := number(value); err != nil || n == 0 {
		if err != nil {
			err = syscall.EINVAL
		}
		return err
	}
	group := k.linkBase(dir + "/iommu_group")
	if kind, err := k.resolve(dir + "/mdev_type"); err == nil {
		k.mdevCount(kind, +1)
	}
	k.detach(dir)
	if group != "" {
		k.drop("dev/vfio/" + group)
		k.detach(groupsDir + group)
	}
	k.event()
	return nil
}

// mdevRemoveAll takes away the mediated devices of a parent that loses its driver.
func (k *Kernel) mdevRemoveAll(parent string) {
	for _, name := range k.list(parent) {
		if uuidName().MatchString(name) {
			_ = k.mdevRemove(parent+"/"+name, "1")
		}
	}
}
