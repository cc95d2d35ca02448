import { randomBytes } from 'node:crypto';
import { closeSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTap } from '../../host-agent/src/os/tun.js';
import type { MachineSpec } from '../../host-agent/src/ports/driver.js';
import { InvalidState, Unsupported } from '../../shared/src/errors.js';
import { targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliverAndResume } from '../bare-guest/guest-control.js';
import { NOTHING_LEFT, leftIn } from '../bare-guest/left-behind.js';
import { ConformanceLab } from '../conformance/conformance-lab.js';
import { CLOUD_HYPERVISOR } from '../conformance/subjects/cloud-hypervisor.js';

function whyNoTap(): string {
  try {
    closeSync(openTap('ofs-probe'));
    return '';
  } catch (error) {
    return `no TAP: ${String(error)}`;
  }
}
const missing = (await CLOUD_HYPERVISOR.missing()) || whyNoTap();

describe.skipIf(missing !== '')(`Cloud Hypervisor: network cards${missing && ` (skipped: ${missing})`}`, () => {
  let lab: ConformanceLab;
  beforeAll(async () => {
    lab = await ConformanceLab.open(CLOUD_HYPERVISOR);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** Does something with a TAP that is closed again here: from then on it is there for as long as a VMM holds it. */
  async function withTap<T>(use: (nic: MachineSpec['nic']) => Promise<T>): Promise<{ result: T; name: string }> {
    const name = `ofs-${randomBytes(4).toString('hex')}`;
    const descriptor = openTap(name);
    try {
      const nic = { mac: '52:54:00:12:34:57', backend: { kind: 'tap', descriptor } } as const;
      return { result: await use(nic), name };
    } finally {
      closeSync(descriptor);
    }
  }
  const isThere = (name: string): boolean => readdirSync('/sys/class/net').includes(name);

  it('are on the TAP they are given, and a fork is on another one than its source', async () => {
    const spec = await lab.spec('source');
    const source = await withTap(async (nic) => lab.keep(await lab.driver.launch({ ...spec, nic })));
    await consoleSays(spec, 'armed\n');
    expect(isThere(source.name)).toBe(true);
    const captured = await source.result.capture(targetIn(spec));
    const base = await lab.baseOf(spec, captured);

    const forkSpec = await lab.forkSpec('fork', base);
    const fork = await withTap(async (nic) => lab.keep((await lab.driver.restore({ ...forkSpec, nic })).vm));
    expect(isThere(fork.name)).toBe(true);
    await deliverAndResume(fork.result, 'networked');
    await consoleSays(forkSpec, '1:networked\n');

    // What is captured of a fork again knows nothing of the TAPs before.
    const again = await fork.result.snapshot(targetIn(forkSpec));
    const nextSpec = await lab.forkSpec('next', await lab.baseOf(forkSpec, again.capture));
    const next = await withTap(async (nic) => lab.keep((await lab.driver.restore({ ...nextSpec, nic })).vm));
    await deliverAndResume(next.result, 'still');
    await consoleSays(nextSpec, '2:still\n');

    for (const [{ result: vm, name }, its] of [
      [source, spec],
      [fork, forkSpec],
      [next, nextSpec],
    ] as const) {
      await vm.kill();
      expect(isThere(name)).toBe(false);
      expect(await leftIn(its)).toEqual(NOTHING_LEFT);
    }
  });

  it('are not taken away from a capture, nor given to one, nor made by the hypervisor', async () => {
    const base = await lab.base('plain');
    const spec = await lab.forkSpec('fork', base);
    await withTap(async (nic) => {
      await expect(lab.driver.restore({ ...spec, nic })).rejects.toThrow(InvalidState);
    });
    const user = { kind: 'user', subnet: '10.7.0.0/24', gateway: '10.7.0.1' } as const;
    const launch = await lab.spec('user');
    await expect(lab.driver.launch({ ...launch, nic: { ...launch.nic, backend: user } })).rejects.toThrow(Unsupported);
    for (const its of [spec, launch]) expect(await leftIn(its)).toEqual(NOTHING_LEFT);
  });
});
