package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// luksImage is qcow2Image encrypted by LUKS, as far as headers say, with one key.
func luksImage() []byte {
	b := append(qcow2Image(), make([]byte, 2<<16)...)
	all(put32(32, cryptLUKS), put32(104, extensionLUKS), put32(108, 16), put64(112, 4<<16), put64(120, 2<<16))(b)
	all(write(0, "LUKS\xba\xbe\x00\x01"), put32(164, 1000), put32(luksSlot, luksActive), put32(luksSlot+4, 50000))(b[4<<16:])
	return b
}

func checkEncrypted(b []byte) (Info, error) {
	return CheckEncrypted(bytes.NewReader(b), int64(len(b)))
}

func TestEncrypted(t *testing.T) {
	for name, b := range map[string][]byte{
		"by hand": luksImage(),
		"by qemu-img": made(t, "qcow2", "--object", "secret,id=key,data=a key", "-o",
			"encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"),
	} {
		info, err := checkEncrypted(b)
		if err != nil || !info.Encrypted || info.Format != Qcow2 || info.Virtual != 1<<30 && info.Virtual != 4<<20 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
		var refused *RefusedError
		if _, err := check(b, Qcow2); !errors.As(err, &refused) || refused.Trick != Encrypted || !strings.Contains(refused.Remedy, "key: passphrase") {
			t.Errorf("%s, without a key: %v", name, err)
		}
	}
}

func TestEncryptedTricks(t *testing.T) {
	of := func(at int, c change) change { return func(b []byte) { c(b[at:]) } }
	for _, tt := range []struct {
		name   string
		change change
		trick  Trick
		want   string
	}{
		{"not encrypted", all(put32(32, 0), put32(104, 0)), NotEncrypted, "everybody can read it"},
		{"not encrypted, with the extension", put32(32, 0), NotEncrypted, "everybody can read it"},
		{"AES", put32(32, 1), Encrypted, "the old method AES"},
		{"an unknown method", put32(32, 3), Encrypted, "not known, 3"},
		{"no extension", put32(104, 0), Damaged, "does not say where"},
		{"an extension with another length", put32(108, 24), Damaged, "a pointer of 24 bytes"},
		{"two extensions", all(put32(100, 104), put32(128, extensionLUKS), put32(132, 16), put64(136, 4<<16), put64(144, 2<<16)), Damaged, "two headers"},
		{"a header nowhere", put64(112, 0), Damaged, "where no cluster begins"},
		{"a header between clusters", put64(112, 4<<16+512), Damaged, "where no cluster begins"},
		{"a header behind the end", put64(112, 6<<16), HugeTable, "not in the file"},
		{"a header far behind the end", put64(112, 1<<63), HugeTable, "not in the file"},
		{"a header that is too long", put64(120, 3<<16), HugeTable, "not in the file"},
		{"a huge header", put64(120, 1<<40), HugeTable, "not between"},
		{"a tiny header", put64(120, 16), HugeTable, "not between"},
		{"a header over the L1 table", all(put64(112, 3<<16), of(3<<16, write(0, "LUKS\xba\xbe\x00\x01")), of(3<<16, put32(luksSlot, luksActive))), Overlap, "L1 table"},
		{"a header over the reference counts", all(put64(40, 5<<16)), Overlap, "L1 table"},
		{"LUKS 2", of(4<<16, write(7, "\x02")), Damaged, "LUKS 1"},
		{"no LUKS", of(4<<16, write(0, "NONE")), Damaged, "LUKS 1"},
		{"no key", of(4<<16, put32(luksSlot, 0xdead)), Damaged, "all places for keys are empty"},
		{"a key that takes a year to try", of(4<<16, put32(luksSlot+4, 1<<31)), HugeTable, "iterations"},
		{"a digest that takes a year", of(4<<16, put32(164, 1<<31)), HugeTable, "iterations"},
		{"a backing file, too", all(put64(8, 200), put32(16, 4), write(200, "/etc")), BackingFile, "backing file"},
		{"a data file, too", put64(72, 1<<2), DataFile, "data file"},
	} {
		b := luksImage()
		tt.change(b)
		var refused *RefusedError
		if _, err := checkEncrypted(b); !errors.As(err, &refused) || refused.Trick != tt.trick || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s, %q", tt.name, err, tt.trick, tt.want)
		}
	}
	for n := range len(luksImage()) / 64 {
		if _, err := checkEncrypted(luksImage()[:n*64]); err == nil {
			t.Fatalf("%d bytes of it", n*64)
		}
	}
}

func FuzzCheckEncrypted(f *testing.F) {
	f.Add(luksImage()[:4096], luksImage()[4<<16:4<<16+1024], int64(6<<16))
	f.Add(qcow2Image()[:4096], []byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, head, luks []byte, size int64) {
		b := make([]byte, 4<<16, 6<<16)
		copy(b, head)
		b = append(b, luks...)
		begin, read := time.Now(), 0
		info, err := CheckEncrypted(counting{bytes.NewReader(b), &read}, size)
		if read > 1<<20 || time.Since(begin) > time.Second {
			t.Errorf("%d bytes read in %v", read, time.Since(begin))
		}
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) || len(err.Error()) > 512 {
				t.Errorf("%q", err)
			}
			return
		}
		if !info.Encrypted || info.Virtual < 0 || info.Virtual > MaxVirtual || binary.BigEndian.Uint32(b[32:]) != cryptLUKS || binary.BigEndian.Uint64(b[8:]) != 0 {
			t.Errorf("%+v", info)
		}
		// Nobody takes it for one that is not encrypted.
		if _, err := Check(io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))), size, Qcow2); err == nil {
			t.Error("passes without a key")
		}
	})
}
