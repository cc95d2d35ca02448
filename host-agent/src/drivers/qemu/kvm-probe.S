# Does this KVM run what a 64-bit kernel runs? Entered in 32-bit protected mode through a PVH note; goes to long mode, uses
# cmpxchg16b and, where CPUID has it, xsaves (both hung under a nested KVM that interpreted supervisor code), then runs a
# loop that takes milliseconds on a processor and minutes in an interpreter. Success leaves QEMU through isa-debug-exit with
# (0x2a << 1) | 1 = 85; every fault becomes a triple fault, which -no-reboot turns into another exit code.
# kvm-probe-image.ts has the linked bytes; its test assembles this file again and compares.

.set PML4, 0x200000             # fresh RAM is zero: only entries in use are written
.set PDPT, 0x201000
.set PD, 0x202000
.set OPERAND, 0x203000          # cmpxchg16b wants 16, xsaves 64 bytes of alignment
.set XSAVE_AREA, 0x204000
.set EXIT_PORT, 0xf4

.section .text
.code32
.globl _start
_start:
  movl $(PDPT + 3), PML4        # present, writable
  movl $(PD + 3), PDPT
  movl $PD, %edi
  movl $0x83, %eax              # 2 MiB pages from 0: present, writable, large
  movl $16, %ecx
1:
  movl %eax, (%edi)
  addl $0x200000, %eax
  addl $8, %edi
  loop 1b
  movl %cr4, %eax
  orl $0x620, %eax              # PAE, OSFXSR, OSXMMEXCPT
  movl %eax, %cr4
  movl $PML4, %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx        # EFER
  rdmsr
  orl $0x100, %eax              # LME
  wrmsr
  movl %cr0, %eax
  andl $~0xc, %eax              # no EM, no TS
  orl $0x80000003, %eax         # PG, MP, PE
  movl %eax, %cr0
  lgdt gdt_pointer
  ljmp $8, $long_mode

.code64
long_mode:
  movl $16, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  movl $PML4, %esp

  xorl %eax, %eax               # memory holds zeros: equal, so RCX:RBX is stored
  xorl %edx, %edx
  movl $0x11, %ebx
  movl $0x22, %ecx
  lock cmpxchg16b OPERAND
  jnz fail
  cmpq $0x22, OPERAND + 8
  jne fail

  movl $1, %eax
  cpuid
  btl $26, %ecx                 # XSAVE
  jnc speed
  movq %cr4, %rax
  orl $0x40000, %eax            # OSXSAVE
  movq %rax, %cr4
  xorl %ecx, %ecx
  xorl %edx, %edx
  movl $3, %eax                 # x87 and SSE
  xsetbv
  movl $13, %eax
  movl $1, %ecx
  cpuid
  btl $3, %eax                  # XSAVES
  jnc speed
  movl $0xda0, %ecx             # IA32_XSS: no supervisor components
  xorl %eax, %eax
  xorl %edx, %edx
  wrmsr
  movl $3, %eax
  xsaves64 XSAVE_AREA
  xrstors64 XSAVE_AREA

speed:
  movl $20000000, %ecx
2:
  decl %ecx
  jnz 2b
  movl $0x2a, %eax
  outl %eax, $EXIT_PORT
fail:
  movl $1, %eax
  outl %eax, $EXIT_PORT
3:
  hlt
  jmp 3b

.balign 8
gdt:
  .quad 0
  .quad 0x00209a0000000000      # 64-bit code
  .quad 0x0000920000000000      # data
gdt_pointer:
  .word . - gdt - 1
  .long gdt

.section .note.Xen, "a", @note  # XEN_ELFNOTE_PHYS32_ENTRY = 18 (xen/include/public/elfnote.h)
  .balign 4
  .long 4, 4, 18
  .asciz "Xen"
  .long _start
