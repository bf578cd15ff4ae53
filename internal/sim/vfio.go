package sim

import (
	"strconv"
	"time"
)

// openVFIO makes what vfio-pci makes for a function, the node after delay.
func (k *Kernel) openVFIO(dev *device, delay time.Duration) {
	if list := k.list(dev.path + "/vfio-dev"); len(list) > 0 {
		dev.vfioDev = dev.path + "/vfio-dev/" + list[0] // so saved
	} else {
		used := map[string]bool{}
		for _, d := range k.dev {
			used[base(d.vfioDev)] = true
		}
		n := 0
		for used["vfio"+strconv.Itoa(n)] {
			n++
		}
		dev.vfioDev = dev.path + "/vfio-dev/vfio" + strconv.Itoa(n)
		must(k.tree.Mkdir(dev.vfioDev))
		k.symlink("sys/class/vfio-dev/"+base(dev.vfioDev), dev.vfioDev)
	}
	// vfio-pci lets an idle function sleep, whatever was set before.
	k.set(dev.path+"/power/control", "auto\n")
	k.set(dev.path+"/power/runtime_status", "suspended\n")
	k.groupNode(dev.group, delay)
}

func (k *Kernel) closeVFIO(dev *device) {
	k.set(dev.path+"/power/control", "on\n") // and not what was set before
	k.set(dev.path+"/power/runtime_status", "active\n")
	k.detach(dev.path + "/vfio-dev")
	dev.vfioDev = ""
}

// groupNode makes or removes the node of group, as its functions want it.
func (k *Kernel) groupNode(group string, delay time.Duration) {
	if group == "" {
		return
	}
	node := "dev/vfio/" + group
	if !k.groupOnVFIO(group) {
		k.drop(node)
		return
	}
	if delay == 0 {
		k.ensure(node, "")
		return
	}
	time.AfterFunc(delay, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.groupOnVFIO(group) {
			_ = k.tree.Put(node, nil)
		}
	})
}

func (k *Kernel) groupOnVFIO(group string) bool {
	for _, d := range k.dev {
		if d.group == group && d.driver != nil && d.driver.name == "vfio-pci" {
			return true
		}
	}
	return false
}
