/** What the default image's kernel is told; drivers add what belongs to their machine, instances their identity. */
export const KERNEL_PARAMETERS = [
  'root=/dev/vda',
  'rw',
  'console=ttyS0',
  // Each line on an emulated serial port costs milliseconds.
  'quiet',
  // The network card is eth0 whatever slot it is in.
  'net.ifnames=0',
  // Guests are isolated from each other by the hypervisor; inside one there is one tenant.
  'mitigations=off',
  // Node asks for random bytes at its start; without trust in the processor's the kernel lets it wait.
  'random.trust_cpu=on',
  // The self-tests of ciphers take 0.4 s under emulation (crypto_algapi_init by initcall_debug, kernel 6.1).
  'cryptomgr.notests',
  // Drivers and mounts wait for RCU grace periods; with one processor a short one costs nothing. In 5 pairs of boots the
  // agent came 0.45 s sooner in the median, once a little later.
  'rcupdate.rcu_expedited=1',
  // The kernel tries whether the timer ticks five times in 160 million cycles of the host's clock (timer_irq_works in 6.1: 62 ms
  // at 2.6 GHz), in four ways, then panics: "IO-APIC + timer doesn't work!". Under emulation a host with other things to do is
  // enough for that: with 2 to 5 ms in every 100 to 200 for QEMU 7.2 at that moment, 14 boots of 15 ended so, and none of 24
  // with this parameter. Under KVM Linux sets it by itself.
  'no_timer_check',
  // A kernel panic ends the VM (the VMM does not reboot), so that it is seen at once.
  'panic=-1',
].join(' ');
