import { fail, pass, type Check, type DoctorSubject } from './check.js';
import { leftElsewhere } from './left-elsewhere.js';
import { leftOfInstances } from './left-of-instances.js';
import type { Leftover } from './leftover.js';

/** Processes, folders, disks and TAPs of instances and snapshots the daemon knows nothing of. */
export const LEFTOVER_CHECK: Check = {
  name: 'leftovers',
  run: async (subject) => {
    const { left, unseen } = await leftoversOf(subject);
    if (left.length === 0) return pass(`nothing of what does not exist${unseen}`);
    const detail = left.map(({ what }) => what).join(', ');
    if (!subject.fix) return fail(`${detail}${unseen}`, 'run offshoot doctor --fix, which ends and removes them');
    for (const each of left) await each.remove();
    const again = await leftoversOf(subject);
    if (again.left.length === 0) return pass(`removed: ${detail}${again.unseen}`);
    return fail(
      again.left.map(({ what }) => `${what} cannot be removed`).join(', '),
      'look into the daemon’s log, and remove them by hand',
    );
  },
};

async function leftoversOf(subject: DoctorSubject): Promise<{ left: readonly Leftover[]; unseen: string }> {
  const ofInstances = await leftOfInstances(subject);
  const elsewhere = await leftElsewhere(subject);
  if (elsewhere !== undefined) return { left: [...ofInstances, ...elsewhere], unseen: '' };
  return { left: ofInstances, unseen: '; snapshots, disks and TAPs not looked into, since operations are under way' };
}
