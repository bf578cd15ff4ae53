package sim

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// Config decides what the configuration space of the function at address reads as from
// now on; nil is what it was. A function that does not answer reads as all ones.
func (k *Kernel) Config(address string, data []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.config == nil {
		k.config = map[string][]byte{}
	}
	k.config[address] = data
	if data == nil {
		delete(k.config, address)
	}
}

// said returns what Config has decided for the file name.
func (k *Kernel) said(name string) ([]byte, bool) {
	if base(name) != "config" {
		return nil, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	dev := k.configOf(name)
	if dev == nil || k.config[dev.addr] == nil {
		return nil, false
	}
	return append([]byte(nil), k.config[dev.addr]...), true
}

func (k *Kernel) configOf(name string) *device {
	dir, err := k.resolve(strings.TrimSuffix(name, "/config")) // the file need not be there
	if err != nil {
		return nil
	}
	return k.byPath[dir]
}

// header returns the header of a function of which configuration space was not saved, as
// its attributes tell it: the 64 bytes that everybody may read.
func (k *Kernel) header(name string) ([]byte, bool) {
	if base(name) != "config" {
		return nil, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	dev := k.configOf(name)
	if dev == nil {
		return nil, false
	}
	word := func(attr string) uint32 {
		n, _ := strconv.ParseUint(hexDigits(k.read(dev.path+"/"+attr)), 16, 32)
		return uint32(n)
	}
	u := binary.LittleEndian
	b := make([]byte, 64)
	u.PutUint16(b[0x00:], uint16(word("vendor")))
	u.PutUint16(b[0x02:], uint16(word("device")))
	u.PutUint32(b[0x08:], word("class")<<8|word("revision")&0xff)
	if dev.physfn != nil {
		u.PutUint32(b[0x00:], 0xffffffff) // the specification wants it so of virtual functions
	}
	if dev.bridge {
		b[0x0e] = 1
	} else {
		u.PutUint16(b[0x2c:], uint16(word("subsystem_vendor")))
		u.PutUint16(b[0x2e:], uint16(word("subsystem_device")))
	}
	return b, true
}
