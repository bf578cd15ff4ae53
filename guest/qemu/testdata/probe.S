# probe.S: the boot sector that decides whether KVM can be used (probe.go carries
# its bytes). It does what every 64-bit kernel does in its first moments and what
# a half-working KVM dies of: long mode with paging, BMI2 where the processor says
# it has it, SSE, an interrupt through a 64-bit gate. Then it writes its line to
# the first serial port and halts.
#
#   as --64 -o probe.o probe.S && objcopy -O binary -j .text probe.o probe.bin
#
# Memory: 0x1000 PML4, 0x2000 PDPT, 0x3000 page directory (2 MiB pages),
# 0x4000 IDT, 0x7c00 this sector, stack below it.

        .code16
        .text
        .globl _start
_start:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp

        movw    $0x1000, %di            # clear the tables
        movw    $0x2000, %cx
        rep stosw
        movw    $0x2003, (0x1000)       # PML4[0] -> PDPT
        movw    $0x3003, (0x2000)       # PDPT[0] -> page directory
        movw    $0x0083, (0x3000)       # 0-2 MiB, present, writable, large

        movl    %cr4, %eax
        orl     $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER.LME
        rdmsr
        orw     $0x100, %ax
        wrmsr
        lgdtl   0x7c00 + gdtr - _start
        movl    %cr0, %eax
        andb    $0xfb, %al              # not EM
        orl     $0x80000003, %eax       # PG, MP, PE
        movl    %eax, %cr0
        ljmpl   $0x08, $(0x7c00 + long - _start)

        .code64
long:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $0x7c00, %esp

        # BMI2, if the processor has it
        xorl    %eax, %eax
        cpuid
        cmpl    $7, %eax
        jb      sse
        movl    $7, %eax
        xorl    %ecx, %ecx
        cpuid
        testl   $0x100, %ebx
        jz      sse
        movl    $3, %ecx
        movl    $5, %edx
        shlx    %rcx, %rdx, %rax        # 40
        shrx    %rcx, %rax, %rbx        # 5
        rorx    $1, %rax, %rsi          # 20
        leal    (%rbx,%rsi), %eax
        cmpl    $25, %eax
        jne     stop

sse:    # SSE: 2 x (3 + 4) in the low lane, through memory and back
        movl    $7, %eax
        cvtsi2sdl %eax, %xmm0
        addsd   %xmm0, %xmm0
        movaps  %xmm0, (0x6000)
        movdqu  (0x6000), %xmm1
        pxor    %xmm0, %xmm0
        por     %xmm1, %xmm0
        cvttsd2si %xmm0, %ebx
        cmpl    $14, %ebx
        jne     stop

gate:   # an interrupt through a 64-bit gate, and back by iretq
        movl    $(0x7c00 + handler - _start), %eax
        movw    %ax, (0x4000 + 16*32)
        movl    $0x8e000008, %ebx
        movl    %ebx, (0x4000 + 16*32 + 2) # selector 8, interrupt gate; offset 31:16 stays 0
        lidt    0x7c00 + idtr - _start
        xorl    %ebp, %ebp
        int     $32
        cmpl    $1, %ebp
        jne     stop

        movw    $0x3f8, %dx
        movl    $(0x7c00 + text - _start), %esi
1:      lodsb
        testb   %al, %al
        jz      stop
        outb    %al, %dx
        jmp     1b
stop:   hlt
        jmp     stop

handler:
        incl    %ebp
        iretq

gdtr:   .word   0x17
        .long   0x7c00 + gdt - _start
idtr:   .word   33*16 - 1
        .quad   0x4000
        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff      # 64-bit code
        .quad   0x00cf93000000ffff      # data
text:   .asciz  "indy: long mode runs\r\n"

        .org    510
        .word   0xaa55
