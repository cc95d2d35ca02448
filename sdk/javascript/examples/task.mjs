// Waits for a task, and acknowledges with its length and checksum.
import { arm } from '@offshoot/mailbox';

const mailbox = await arm('javascript', { capacity: 204_800 });
console.log('javascript is armed');
const { payload } = await mailbox.wait(); // the VM is parked here; every fork goes on from here
const sum = payload.reduce((sum, byte) => (sum * 31 + byte) % 2 ** 32, 0);
await mailbox.ack('applied', `${payload.length} bytes, sum ${sum}`);
await mailbox.dispose();
