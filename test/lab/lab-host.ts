import { createWriteStream } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { MACHINE } from './lab-definition.js';
import type { LabSystem } from './lab-system.js';

export interface LabDisks {
  readonly run: string;
  readonly modules: string;
}

export interface LabResult {
  /** Exit status of the test runner; undefined when the lab host ended without a word, or was ended. */
  readonly status: number | undefined;
  /** JSON report of the test runner, a file; empty when there is none. */
  readonly report: string;
}

/**
 * QEMU 7.2 loses interrupts where SVM is emulated, rarely: the local APIC has one pending that the processor, halted and ready
 * for interrupts, is not told of (most likely its flags are changed by VMRUN without the lock under which devices set them). If
 * it was that of the timer, which is armed again by who takes it, nothing happens in there any more. The next one of any device
 * brings the lost one up with it; so there is a next one.
 */
const NUDGE_MS = 100;

/** XON, which terminals take for themselves: nobody reads it, and none echoes it. */
const NUDGE = '\x11';

/**
 * Boots the lab host, shows its console, and waits until it is off.
 * @param folder of the run; gets the report
 * @param consoleLog file that keeps what the console says
 * @param signal ends it
 */
export async function runLabHost(
  system: LabSystem,
  disks: LabDisks,
  folder: string,
  consoleLog: string,
  signal: AbortSignal,
): Promise<LabResult> {
  const report = join(folder, 'report.json');
  const status = join(folder, 'status');
  // Writes go to a file without a name: the disks can be used by several lab hosts, and again.
  const drive = (file: string): string[] => ['-drive', `file=${escaped(file)},format=raw,if=virtio,snapshot=on`];
  const port = (number: number, file: string): string[] => [
    ...['-chardev', `file,id=port${String(number)},path=${escaped(file)}`],
    ...['-device', `virtserialport,nr=${String(number)},chardev=port${String(number)}`],
  ];
  const host = execa(
    'qemu-system-x86_64',
    [
      ...['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot', '-machine', 'q35'],
      // Not KVM: what this machine has of it may be the very thing the lab host is for.
      ...['-accel', 'tcg', '-cpu', MACHINE.cpu],
      ...['-smp', String(MACHINE.processors), '-m', `${String(MACHINE.memoryMib)}M`, '-serial', 'stdio'],
      ...['-kernel', system.vmlinuz, '-initrd', system.initrd],
      ...['-append', 'console=ttyS0 quiet loglevel=3 mitigations=off panic=-1'],
      ...[...drive(system.disk), ...drive(disks.run), ...drive(disks.modules)],
      // Only to look into one that hangs: QEMU's registers, interrupt controllers, timers.
      ...['-monitor', `unix:${escaped(join(folder, 'monitor'))},server=on,wait=off`],
      ...['-device', 'virtio-serial-pci', ...port(1, report), ...port(2, status)],
    ],
    { stdin: 'pipe', buffer: false, reject: false, cancelSignal: signal, forceKillAfterDelay: 1000 },
  );
  const kept = createWriteStream(consoleLog);
  host.stdout.pipe(process.stdout, { end: false });
  // Of stderr not all: the emulator warns of each feature of the processor that it does not know.
  for (const stream of [host.stdout, host.stderr]) stream.pipe(kept, { end: false });
  host.stdin.on('error', () => undefined); // it has just ended
  const nudging = setInterval(() => host.stdin.write(NUDGE), NUDGE_MS);
  await host;
  clearInterval(nudging);
  kept.end();
  return { status: await statusIn(status), report: await fileWithContent(report) };
}

const escaped = (value: string): string => value.replaceAll(',', ',,');

async function statusIn(file: string): Promise<number | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return /^\d+\n$/.test(text) ? Number(text) : undefined;
}

async function fileWithContent(file: string): Promise<string> {
  try {
    await using handle = await open(file, 'r');
    return (await handle.stat()).size > 0 ? file : '';
  } catch {
    return '';
  }
}
