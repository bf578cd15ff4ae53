package laptop

import (
	"strconv"
	"strings"
)

// input says what an input device is, from the bits of what it can report.
func (f *facts) input(c ClassDevice) {
	f.text(c.Name+" name", c.Source("name"))
	f.text(c.Name+" place", c.Source("phys"))
	bits := func(file string) bitmap { return parseBitmap(f.read(c.Name+" kind", c.Source(file))) }
	i := inputBits{
		ev: bits("capabilities/ev"), key: bits("capabilities/key"), abs: bits("capabilities/abs"),
		rel: bits("capabilities/rel"), sw: bits("capabilities/sw"), prop: bits("properties"),
	}
	f.add(c.Name+" kind", i.kind(), c.Source("capabilities"))
}

// A bitmap is what an input device has of one kind of event, by its code.
type bitmap []uint64

// maxWords is how many words a bitmap may have: that of keys is the longest, with 12.
const maxWords = 64

// parseBitmap reads the kernel's form: words of 64 bits in hexadecimal, the highest
// first. Anything else is empty.
func parseBitmap(s string) bitmap {
	words := strings.Fields(s)
	if len(words) > maxWords {
		return nil
	}
	b := make(bitmap, len(words))
	for i, w := range words {
		n, err := strconv.ParseUint(w, 16, 64)
		if err != nil {
			return nil
		}
		b[len(words)-1-i] = n
	}
	return b
}

func (b bitmap) has(code uint) bool { return code/64 < uint(len(b)) && b[code/64]>>(code%64)&1 != 0 }

// any reports whether the bitmap has a code from low to high.
func (b bitmap) any(low, high uint) bool {
	for c := low; c <= high; c++ {
		if b.has(c) {
			return true
		}
	}
	return false
}

// An inputBits is what an input device can report, and its properties.
type inputBits struct{ ev, key, abs, rel, sw, prop bitmap }

// Codes from include/uapi/linux/input-event-codes.h.
const (
	evRel, evAbs                                  = 0x02, 0x03
	keyEsc, keyS                                  = 1, 31
	keyPower, keySleep                            = 116, 142
	btnMisc, btnMouse, btnJoystick, btnDigi       = 0x100, 0x110, 0x120, 0x140
	btnToolFinger, btnStylus, btnTouch            = 0x145, 0x14b, 0x14a
	btnTriggerHappy, btnTriggerHappyLast          = 0x2c0, 0x2e7
	relX, relY, absX, absY                        = 0, 1, 0, 1
	swLid, swTabletMode, swHeadphone, swMike      = 0, 1, 2, 4
	swLineout, swJackPhysical, swLineIn           = 6, 7, 0x0d
	propDirect, propPointingStick, propAccel      = 1, 5, 6
	keysWithoutButtonsLast                        = 0xff
	keyMax, btnGamepadLast, btnMouseLast     uint = 0x2ff, 0x13f, 0x117
)

// kind names an input device by the same signs as udev's input_id, and switches and
// buttons besides. It is empty for one that reports nothing.
func (i inputBits) kind() string {
	pointer := i.ev.has(evAbs) && i.abs.has(absX) && i.abs.has(absY)
	moves := i.ev.has(evRel) && i.rel.has(relX) && i.rel.has(relY)
	stylus, finger := i.key.has(btnStylus) || i.key.has(btnDigi), i.key.has(btnToolFinger)
	switch {
	case i.prop.has(propAccel):
		return "accelerometer"
	case i.prop.has(propPointingStick):
		return "pointing stick"
	case pointer && stylus:
		return "tablet"
	case pointer && finger && !i.prop.has(propDirect):
		return "touchpad"
	case pointer && i.key.any(btnJoystick, btnGamepadLast), i.key.any(btnTriggerHappy, btnTriggerHappyLast):
		return "joystick"
	case pointer && i.key.has(btnMouse): // a virtual machine's
		return "mouse"
	case pointer && (i.key.has(btnTouch) || i.prop.has(propDirect)):
		return "touchscreen"
	case moves && i.key.any(btnMouse, btnMouseLast):
		return "mouse"
	case i.allLetters():
		return "keyboard"
	case i.key.any(btnJoystick, btnGamepadLast):
		return "joystick"
	case i.sw.has(swLid):
		return "lid switch"
	case i.sw.has(swTabletMode):
		return "tablet mode switch"
	case i.sw.has(swHeadphone), i.sw.has(swMike), i.sw.has(swLineout), i.sw.has(swJackPhysical), i.sw.has(swLineIn):
		return "socket"
	case i.key.has(keyPower) && !i.key.any(keyEsc, keyPower-1):
		return "power button"
	case i.key.has(keySleep) && !i.key.any(keyEsc, keySleep-1):
		return "sleep button"
	case i.key.any(keyEsc, keysWithoutButtonsLast), i.key.any(btnMisc, keyMax):
		return "keys"
	}
	return ""
}

// allLetters reports whether the first keys are all there, from escape to the letter
// S, as on every keyboard.
func (i inputBits) allLetters() bool {
	for c := uint(keyEsc); c <= keyS; c++ {
		if !i.key.has(c) {
			return false
		}
	}
	return true
}
