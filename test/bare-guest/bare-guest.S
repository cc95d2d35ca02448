# A guest without an operating system, for tests of drivers: an ELF with a PVH note, so that QEMU, Firecracker and Cloud
# Hypervisor all enter it in 32-bit protected mode. It arms one mailbox frame, version 1 (shared/src/mailbox/frame-layout.ts),
# writes "armed" to COM1 and spins. When the frame's generation changes it writes "<n>:<payload>", n being a digit it counts
# up in another page with each delivery; then it marks the frame consumed, clears the generation and waits for the next. While
# it waits it counts up a number, by which one sees that it runs, and from where. The payload "poweroff" powers it off (ACPI, on
# q35 and Cloud Hypervisor), and "reset" resets it by the keyboard controller, which all of them have.

.set FRAME, 0x400000
.set COUNTER, 0x500000          # a page of its own: a clone's captured RAM is told from its base's by it
.set TICKS, 0x500400            # 32 bits, beside it
.set COM1, 0x3f8
.set PM1A_CONTROL, 0x604        # where SeaBIOS puts it on q35; bit 13 enters the sleep type in bits 10-12, 0 is S5
.set SLEEP_CONTROL, 0x600       # Cloud Hypervisor's: 0x34 is S5 with the enable bit; on q35 a status that clears itself
.set I8042_COMMAND, 0x64        # 0xfe pulses the line that resets the processor

.set NAME, 16
.set TOKEN, 80
.set SEGMENT_COUNT, 210
.set STATE, 212
.set NONCE, 216
.set GENERATION, 224
.set PAYLOAD_LENGTH, 228
.set PAYLOAD, 256

.section .text
.code32
.globl _start
_start:
  cld
  movl $0x500800, %esp
  movl $'0', COUNTER
  movl $FRAME, %ebx
  movl $0x6b736174, NAME(%ebx)  # "task"
  movl $0x6b74, TOKEN(%ebx)     # "tk"
  movw $1, SEGMENT_COUNT(%ebx)
  movl $0x12345678, NONCE(%ebx)
  movl $magic, %esi
  movl %ebx, %edi
  movl $4, %ecx
  rep movsl
  movl $1, STATE(%ebx)
  movl $armed, %esi
  movl $armed_size, %ecx
  call write

wait:
  incl TICKS
  pause
  cmpl $0, GENERATION(%ebx)
  je wait
  incl COUNTER
  movl $COUNTER, %esi
  movl $1, %ecx
  call write
  movl $colon, %esi
  movl $1, %ecx
  call write
  leal PAYLOAD(%ebx), %esi
  movl PAYLOAD_LENGTH(%ebx), %ecx
  call write
  movl $newline, %esi
  movl $1, %ecx
  call write
  movl $3, STATE(%ebx)
  movl $0, GENERATION(%ebx)
  cmpl $0x65736572, PAYLOAD(%ebx) # "rese"
  je reset
  cmpl $0x65776f70, PAYLOAD(%ebx) # "powe"
  jne wait
  movw $PM1A_CONTROL, %dx
  movw $0x2000, %ax
  outw %ax, %dx
  movw $SLEEP_CONTROL, %dx
  movb $0x34, %al
  outb %al, %dx
  jmp wait

reset:
  movb $0xfe, %al
  outb %al, $I8042_COMMAND
  jmp wait

# ECX bytes from ESI to COM1. The port is not asked whether it is ready: emulated ones always are.
write:
  movw $COM1, %dx
  jecxz 2f
1:
  outsb
  loop 1b
2:
  ret

magic: .ascii "OFFSHOOT-MBOX-1\0"
armed: .ascii "armed\n"
.set armed_size, . - armed
colon: .ascii ":"
newline: .ascii "\n"

.section .note.Xen, "a", @note  # XEN_ELFNOTE_PHYS32_ENTRY = 18 (xen/include/public/elfnote.h)
  .balign 4
  .long 4, 4, 18
  .asciz "Xen"
  .long _start
