# Waits for a task, and acknowledges with its length and checksum.
import functools

import offshoot_mailbox

with offshoot_mailbox.arm("python", capacity=204_800) as mailbox:
    print("python is armed", flush=True)
    payload = mailbox.wait().payload  # the VM is parked here; every fork goes on from here
    total = functools.reduce(lambda total, byte: (total * 31 + byte) % 2**32, payload, 0)
    mailbox.ack("applied", f"{len(payload)} bytes, sum {total}")
