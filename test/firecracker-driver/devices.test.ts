import { once } from 'node:events';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NicBackend } from '../../host-agent/src/ports/driver.js';
import { settled, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliverAndResume } from '../bare-guest/guest-control.js';
import { ConformanceLab } from '../conformance/conformance-lab.js';
import { FIRECRACKER, FIRECRACKER_JAILED } from '../conformance/subjects/firecracker.js';

const SUBJECTS = await Promise.all(
  [FIRECRACKER, FIRECRACKER_JAILED].map(async (subject) => ({ subject, missing: await subject.missing() })),
);
const run = promisify(execFile);
const noTap = process.getuid?.() === 0 && existsSync('/dev/net/tun') ? '' : 'root and /dev/net/tun';

for (const { subject, missing } of SUBJECTS)
  describe.skipIf(missing !== '')(`${subject.name}: devices${missing && ` (skipped: ${missing})`}`, () => {
    let lab: ConformanceLab;
    beforeAll(async () => {
      lab = await ConformanceLab.open(subject);
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    it('keeps what a VM said when it is loaded again in its own folder', async () => {
      const { vm, spec } = await lab.launch('again');
      const parked = await settled(await vm.capture(targetIn(spec)), spec);
      await vm.kill();
      const { capture } = await lab.baseOf(spec, parked);
      const { vm: back } = await lab.driver.restore({ ...spec, capture, stateFile: parked.stateFile });
      lab.keep(back);
      await deliverAndResume(back, 'a longer line than before');
      await consoleSays(spec, '1:a longer line than before\n');
      const said = (name: string): Promise<string> => readFile(join(spec.logDirectory, name), 'utf8');
      expect(await said('console.log')).toBe('1:a longer line than before\n');
      expect(await said('console.log.1')).toBe('armed\n');
      expect((await stat(join(spec.logDirectory, 'console.log'))).mode & 0o777).toBe(0o640);
      await back.kill();
    });

    // This guest has no driver for its vsock, so that nothing is answered there: what a guest says, test/lab/inside hears.
    it('has one connection to its channel, which can be dialled again, and breaks with its VMM', async () => {
      const { vm } = await lab.launch('channel');
      for (let attempt = 0; attempt < 2; attempt++) {
        const dialled = await vm.dialGuest();
        await expect(vm.dialGuest()).rejects.toMatchObject({ reason: 'CHANNEL_IN_USE' });
        dialled.destroy();
      }
      const dialled = await vm.dialGuest();
      const broken = once(dialled, 'error') as Promise<[Error]>;
      process.kill(vm.process.pid, 'SIGKILL');
      expect((await broken)[0]).toMatchObject({ reason: 'CHANNEL_UNREACHABLE' });
      await vm.exited;
      await expect(vm.dialGuest()).rejects.toMatchObject({ reason: 'CHANNEL_UNREACHABLE' });
      await vm.kill();
    });

    it.skipIf(noTap !== '')(
      `takes its network card by the name of the TAP, and a fork another${noTap && ` (skipped: ${noTap})`}`,
      async () => {
        const names = ['a', 'b'].map((last) => `offc${String(process.pid).slice(-8)}${last}`);
        const nic = (name: string): { mac: string; backend: NicBackend } => ({
          mac: '52:54:00:12:34:56',
          backend: { kind: 'named-tap', name },
        });
        const carrier = async (name: string): Promise<string> =>
          (await readFile(`/sys/class/net/${name}/carrier`, 'utf8')).trim();
        try {
          for (const name of names) {
            await run('ip', ['tuntap', 'add', name, 'mode', 'tap', 'vnet_hdr']);
            await run('ip', ['link', 'set', name, 'up']);
          }
          const spec = { ...(await lab.spec('tap')), nic: nic(names[0]!) };
          const vm = lab.keep(await lab.driver.launch(spec));
          await consoleSays(spec, 'armed\n');
          expect(await carrier(names[0]!)).toBe('1');
          const { capture } = await vm.snapshot(targetIn(spec));
          const forkSpec = {
            ...(await lab.forkSpec('tap-fork', await lab.baseOf(spec, capture))),
            nic: nic(names[1]!),
          };
          const { vm: fork } = await lab.driver.restore(forkSpec);
          lab.keep(fork);
          expect(await carrier(names[1]!)).toBe('1');
          // Somebody else's TAP is not taken, whatever the capture says.
          const busy = { ...(await lab.forkSpec('busy', await lab.baseOf(spec, capture))), nic: nic(names[0]!) };
          await expect(lab.driver.restore(busy)).rejects.toMatchObject({ reason: 'STATE_NOT_LOADED' });
          await fork.kill();
          await vm.kill();
          expect(await carrier(names[0]!)).toBe('0');
        } finally {
          for (const name of names) await run('ip', ['link', 'del', name]).catch(() => undefined);
        }
      },
    );
  });
