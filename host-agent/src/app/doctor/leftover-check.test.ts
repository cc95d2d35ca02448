import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintSnapshotId } from '../../domain/ids.js';
import { examine } from './doctor.js';
import { LEFTOVER_CHECK } from './leftover-check.js';
import { MachineOfTest } from './testing/machine-of-test.js';

const never = new AbortController().signal;

describe('what is left of what does not exist', () => {
  let machine: MachineOfTest;
  beforeEach(async () => {
    machine = await MachineOfTest.start();
  });
  afterEach(() => machine[Symbol.asyncDispose]());

  it('leaves alone what belongs to an instance, and removes what does not when asked to', async () => {
    machine.rows.push({ id: 'here' });
    machine.leave('here', { folder: true, pid: 76 });
    machine.leave('gone', { folder: true, pid: 77 });
    machine.fix = true;
    const found = await machine.examine();
    expect(found.get('leftovers')).toMatchObject({
      outcome: 'pass',
      detail: 'removed: folder of gone, process of gone',
    });
    expect(new Set(machine.ended)).toEqual(new Set([join(machine.state, 'instances', 'gone')]));
    machine.fix = false;
    expect((await machine.examine()).get('leftovers')).toMatchObject({ outcome: 'pass' });
  });

  it('removes what is left elsewhere when asked to, and leaves alone what is somebody’s', async () => {
    const gone = mintSnapshotId();
    machine.rows.push({ id: 'here' });
    machine.snapshots.push({ id: 'kept' });
    for (const folder of [`snapshots/${gone}`, 'snapshots/kept', 'snapshots/.new-x', 'captures/gone'])
      machine.write(`state/${folder}/memory`, '');
    machine.disks = ['here', 'kept', 'gone'].map((owner) => ({ name: `p/${owner}`, owner }));
    machine.taps = ['oft-1'];
    machine.fix = true;
    expect((await machine.examine()).get('leftovers')).toMatchObject({
      outcome: 'pass',
      detail: `removed: disk p/gone, folder of the snapshot ${gone}, capture gone, TAP oft-1`,
    });
    expect(machine.disks.map(({ owner }) => owner)).toEqual(['here', 'kept']);
    expect(machine.taps).toEqual([]);
    expect(readdirSync(join(machine.state, 'snapshots')).sort()).toEqual(['.new-x', 'kept']);
    expect(readdirSync(join(machine.state, 'captures'))).toEqual([]);
  });

  it('does not take for left what an operation under way may have made, and says so', async () => {
    machine.taps = ['oft-1'];
    machine.busy = machine.fix = true;
    expect((await machine.examine()).get('leftovers')).toMatchObject({
      outcome: 'pass',
      detail: expect.stringMatching(/not looked into, since operations are under way/) as string,
    });
    expect(machine.taps).toEqual(['oft-1']);
  });

  it('says what cannot be removed', async () => {
    machine.taps = ['oft-1'];
    machine.fix = true;
    const subject = machine.subject();
    const stuck = { ...subject, network: { ...subject.network, removeStrayTap: () => undefined } };
    const found = [];
    for await (const result of examine(stuck, never, [LEFTOVER_CHECK])) found.push(result);
    expect(found).toMatchObject([{ outcome: 'fail', detail: 'TAP oft-1 cannot be removed' }]);
  });
});
