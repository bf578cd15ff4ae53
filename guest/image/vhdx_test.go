package image

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
)

func crcUp(b []byte) {
	copy(b[4:8], "\x00\x00\x00\x00")
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// vhdxEntry gives an entry of the metadata another identifier, and makes it required.
func vhdxEntry(old, new string) change {
	return func(b []byte) {
		at := bytes.Index(b, unhex(old))
		copy(b[at:], unhex(new))
		b[at+24] |= 4
	}
}

// vhdxItem changes what an item of the metadata says.
func vhdxItem(id string, c change) change {
	return func(b []byte) {
		table := bytes.Index(b, []byte("metadata"))
		at := bytes.Index(b, unhex(id))
		c(b[table+int(binary.LittleEndian.Uint32(b[at+16:])):])
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
