package lab

import (
	"errors"
	"fmt"
	"os"
)

const (
	sectorSize = 512
	nvmeSize   = 64 << 20
)

// sectorCode is where a machine with a BIOS starts, at 7c00h, in 16-bit mode:
//
//	     mov dx, 3f8h   ; the first serial line
//	     mov si, 7c12h  ; the text, after this code and a zero
//	next lodsb
//	     test al, al
//	     jz stop
//	     out dx, al
//	     jmp next
//	stop hlt
//	     jmp stop
const sectorCode = "\xba\xf8\x03\xbe\x12\x7c\xac\x84\xc0\x74\x03\xee\xeb\xf8\xf4\xeb\xfd"

// BootSector returns a boot sector of 512 bytes that prints text and a line break
// on the first serial line and then halts: the smallest guest that proves which
// disk it was started from. Text has at most 400 bytes and no zero byte.
func BootSector(text string) ([]byte, error) {
	if len(text) > 400 {
		return nil, fmt.Errorf("boot sector: the text has %d bytes, more than 400", len(text))
	}
	for i := range len(text) {
		if text[i] == 0 {
			return nil, errors.New("boot sector: the text holds a zero byte")
		}
	}
	b := make([]byte, sectorSize)
	copy(b, sectorCode+"\x00"+text+"\r\n\x00")
	b[510], b[511] = 0x55, 0xaa
	return b, nil
}

// NVMeImage creates the file path, or replaces what it holds, with a raw disk of
// 64 MiB that starts with [BootSector] of text. It takes one block of real space.
func NVMeImage(path, text string) error {
	sector, err := BootSector(text)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(sector)
	if err == nil {
		err = f.Truncate(nvmeSize)
	}
	return errors.Join(err, f.Close())
}
