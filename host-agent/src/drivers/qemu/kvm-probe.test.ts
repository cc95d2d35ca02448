import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inspectInstallation } from './installation.js';
import { probeKvm } from './kvm-probe.js';
import { KVM_PROBE_EXIT_CODE, KVM_PROBE_IMAGE } from './kvm-probe-image.js';

const run = promisify(execFile);
const has = (program: string): Promise<boolean> =>
  run(program, ['--version']).then(
    () => true,
    () => false,
  );
const hasTools = (await has('gcc')) && (await has('ld'));
const hasQemu = await has('qemu-system-x86_64');
const source = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The bytes an ELF64 file puts into memory: binutils differ in what they add around them. */
function loadedBytes(elf: Buffer): Buffer {
  const table = Number(elf.readBigUInt64LE(32));
  const [entrySize, entries] = [elf.readUInt16LE(54), elf.readUInt16LE(56)];
  const loaded = [...Array(entries).keys()]
    .map((i) => elf.subarray(table + i * entrySize, table + (i + 1) * entrySize))
    .filter((header) => header.readUInt32LE(0) === 1)
    .map((header) => {
      const offset = Number(header.readBigUInt64LE(8));
      return elf.subarray(offset, offset + Number(header.readBigUInt64LE(32)));
    });
  return Buffer.concat(loaded);
}

describe('the KVM probe', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kvm-probe-test-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it.skipIf(!hasTools)(`is what its source assembles to${hasTools ? '' : ' (skipped: gcc or ld)'}`, async () => {
    const [object, image] = [join(directory, 'probe.o'), join(directory, 'probe.elf')];
    await run('gcc', ['-m64', '-nostdlib', '-c', source('kvm-probe.S'), '-o', object]);
    const link = ['-m', 'elf_x86_64', '-n', '-s', '--build-id=none', '-T', source('kvm-probe.ld')];
    await run('ld', [...link, '-o', image, object]);
    expect(loadedBytes(KVM_PROBE_IMAGE).toString('hex')).toBe(loadedBytes(await readFile(image)).toString('hex'));
  });

  const skipped = hasQemu ? '' : ' (skipped: qemu-system-x86_64)';

  it.skipIf(!hasQemu)(`runs to its end on a processor that is whole${skipped}`, async () => {
    const image = join(directory, 'image.elf');
    await writeFile(image, KVM_PROBE_IMAGE);
    const machine = ['-machine', 'q35', '-accel', 'tcg', '-cpu', 'max', '-m', '64', '-no-reboot', '-nodefaults'];
    const exit = ['-display', 'none', '-kernel', image, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'];
    const result = await execa('qemu-system-x86_64', [...machine, ...exit], { reject: false, timeout: 30_000 });
    expect(result.exitCode).toBe(KVM_PROBE_EXIT_CODE);
  });

  // A KVM that hangs is given up on after 5 s, and this asks it twice.
  it.skipIf(!hasQemu)(`gives the same answer again without running again${skipped}`, { timeout: 30_000 }, async () => {
    const { machineType } = await inspectInstallation('qemu-system-x86_64');
    const { stdout: binary } = await run('sh', ['-c', 'command -v qemu-system-x86_64']);
    const options = { binary: binary.trim(), machineType, scratchDirectory: directory };
    const answer = await probeKvm(options);
    const cache = join(directory, 'kvm-probe.json');
    const known = await readFile(cache, 'utf8').catch(() => undefined);
    if (known === undefined) {
      expect(answer).toMatch(/\/dev\/kvm cannot be used/);
      return;
    }
    const { key } = JSON.parse(known) as { key: string };
    await writeFile(cache, JSON.stringify({ key, reason: 'remembered' }));
    expect(await probeKvm(options)).toBe('remembered');
    await writeFile(cache, JSON.stringify({ key: `${key}, of another boot`, reason: 'remembered' }));
    expect(await probeKvm(options)).toBe(answer);
  });

  const hasKvm = existsSync('/dev/kvm');
  it.skipIf(!hasKvm)(
    `asks again later when the machine took too long${hasKvm ? '' : ' (skipped: /dev/kvm)'}`,
    { timeout: 30_000 },
    async () => {
      const folder = await mkdtemp(join(directory, 'slow-'));
      const [binary, quick] = [join(folder, 'qemu'), join(folder, 'quick')];
      const script = `[ -e ${quick} ] && exit ${String(KVM_PROBE_EXIT_CODE)}; exec sleep 60`;
      await writeFile(binary, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const options = { binary, machineType: 'pc', scratchDirectory: folder };
      const slow = /did not end within 5 s/;
      expect(await probeKvm(options)).toMatch(slow);
      const cache = join(folder, 'kvm-probe.json');
      const kept = JSON.parse(await readFile(cache, 'utf8')) as { until: number };
      expect(kept.until - Date.now()).toBeLessThanOrEqual(600_000);
      // What would answer otherwise is not asked before its time.
      await writeFile(quick, '');
      expect(await probeKvm(options)).toMatch(slow);
      await writeFile(cache, JSON.stringify({ ...kept, until: Date.now() - 1 }));
      expect(await probeKvm(options)).toBe('');
    },
  );
});
