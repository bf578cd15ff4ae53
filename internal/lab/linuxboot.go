package lab

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// linuxCode starts Linux, at 7c00h. It asks the BIOS which memory there is, moves what is
// behind it on the disk to its place, in pieces of 64 sectors, and enters the kernel with
// 32 bits, as Xen's documentation has it (docs/misc/pvh.pandoc). What comes after it in
// the sector is filled in by linuxImage.
//
//	.code16
//	start:  xor     %ax, %ax
//	        mov     %ax, %ds
//	        mov     %ax, %es
//	        mov     %ax, %ss
//	        mov     $0x7c00, %sp
//	        mov     %dl, drive
//	        cld
//	        mov     $0x8000, %di            # the memory map of the firmware, in entries of 24 bytes
//	        xor     %ebx, %ebx
//	map:    mov     $0xe820, %eax
//	        mov     $0x534d4150, %edx
//	        mov     $20, %ecx
//	        int     $0x15
//	        jc      parts
//	        add     $24, %di
//	        incw    entries
//	        test    %ebx, %ebx
//	        jnz     map
//	parts:  mov     $table, %bp
//	part:   mov     (%bp), %eax             # its first sector; 0 ends the table
//	        test    %eax, %eax
//	        jz      enter
//	        mov     %eax, sector
//	        mov     4(%bp), %edx            # where it goes
//	piece:  push    %edx
//	        mov     $packet, %si            # 64 sectors to 0x10000
//	        mov     $0x42, %ah
//	        mov     drive, %dl
//	        int     $0x13
//	        jc      stop
//	        pop     %edx
//	        cli                             # and from there, with segments of 4 GiB
//	        lgdt    gdtr
//	        mov     %cr0, %eax
//	        inc     %ax
//	        mov     %eax, %cr0
//	        mov     $16, %bx
//	        mov     %bx, %ds
//	        mov     %bx, %es
//	        dec     %ax
//	        mov     %eax, %cr0
//	        xor     %bx, %bx
//	        mov     %bx, %ds
//	        mov     %bx, %es
//	        sti
//	        mov     $0x10000, %esi
//	        mov     %edx, %edi
//	        mov     $0x2000, %ecx
//	        addr32 rep movsl
//	        mov     %edi, %edx
//	        addl    $64, sector
//	        decw    8(%bp)
//	        jnz     piece
//	        add     $10, %bp
//	        jmp     part
//	stop:   hlt
//	        jmp     stop
//	enter:  cli
//	        lgdt    gdtr
//	        mov     %cr0, %eax
//	        or      $1, %al
//	        mov     %eax, %cr0
//	        ljmp    $8, $flat
//	.code32
//	flat:   mov     $16, %ax
//	        mov     %ax, %ds
//	        mov     %ax, %es
//	        mov     %ax, %ss
//	        mov     $info, %ebx
//	        jmp     *entry
//
//	gdtr:   .word   23
//	        .long   gdt
//	gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
//	packet: .byte   16, 0
//	        .word   64, 0, 0x1000
//	sector: .quad   0
//	drive:  .byte   0
const linuxCode = "31c08ed88ec08ed0bc007c8816fb7cfcbf00806631db66b820e8000066ba50414d5366b914000000cd15720c83c718ff06647d6685db75debd8c" +
	"7d668b46006685c0746166a3f37c668b56046652beeb7cb4428a16fb7ccd137247665afa0f0116cd7c0f20c0400f22c0bb10008edb8ec3480f22" +
	"c031db8edb8ec3fb66be000001006689d766b9002000006766f3a56689fa668306f37c40ff4e0875af83c50aeb99f4ebfdfa0f0116cd7c0f20c0" +
	"0c010f22c0eab87c080066b810008ed88ec08ed0bb347d0000ff25307d00001700d37c00000000000000000000ffff0000009bcf00ffff000000" +
	"93cf001000400000000010000000000000000000"

// Where things are in the boot sector that linuxCode is the beginning of.
const (
	entryAt   = 0x130                  // where the kernel is entered
	infoAt    = entryAt + 4            // struct hvm_start_info of Xen's public/arch-x86/hvm/start_info.h
	moduleAt  = infoAt + 56            // struct hvm_modlist_entry: the initial file system
	tableAt   = moduleAt + 32          // of the parts: first sector, where to, how many pieces
	tableSize = (0x1fe - tableAt) / 10 // with one of zeroes at the end
)

// Where things are in memory.
const (
	sectorAt  = 0x7c00
	mapAt     = 0x8000
	commandAt = 0x20000
)

const pieceSize = 64 * sectorSize

// A part is what goes to one place in memory. What its size is more than its data is zero.
type part struct {
	to, size uint32
	data     []byte
}

// linuxImage returns a disk with the parts, of which one is an initial file system.
func linuxImage(entry, initrd uint32, size int, parts []part) ([]byte, error) {
	code, err := hex.DecodeString(linuxCode)
	if err != nil {
		return nil, err
	}
	if len(parts) >= tableSize {
		return nil, fmt.Errorf("%d parts are more than the boot sector has room for", len(parts))
	}
	disk := make([]byte, sectorSize)
	copy(disk, code)
	le := binary.LittleEndian
	le.PutUint32(disk[entryAt:], entry)
	// Magic, version, flags, modules, and as 64 bits each: modules, command line, RSDP, memory map.
	for i, v := range []uint32{0x336ec578, 1, 0, 1, sectorAt + moduleAt, 0, commandAt, 0, 0, 0, mapAt} {
		le.PutUint32(disk[infoAt+4*i:], v)
	}
	le.PutUint64(disk[moduleAt:], uint64(initrd))
	le.PutUint64(disk[moduleAt+8:], uint64(size))
	for i, p := range parts {
		pieces := (len(p.data) + pieceSize - 1) / pieceSize
		if pieces > 0xffff {
			return nil, fmt.Errorf("a part of %d bytes is too large", len(p.data))
		}
		row := disk[tableAt+10*i:]
		le.PutUint32(row, uint32(len(disk)/sectorSize))
		le.PutUint32(row[4:], p.to)
		le.PutUint16(row[8:], uint16(pieces))
		disk = append(disk, p.data...)
		disk = append(disk, make([]byte, pieces*pieceSize-len(p.data))...)
	}
	disk[510], disk[511] = 0x55, 0xaa
	return disk, nil
}
