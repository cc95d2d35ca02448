import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { execa } from 'execa';
import { SYNC_MAGIC, encodeSync, newSessionId } from '@offshoot/shared/channel/wire.js';
import { QmpConnection } from './qmp-connection.js';

/** What the peer's VM is made of. */
export interface StockMachine {
  /** Working directory of QEMU; disk and state lie in it. */
  readonly directory: string;
  readonly accelerator: string;
  readonly memoryMib: number;
  /** Absolute. */
  readonly rootDisk: string;
  readonly kernel: { readonly vmlinuz: string; readonly initrd: string; readonly commandLine: string };
}

/** Descriptors handed down: QMP, the guest's channel, and the file of a restore. */
const DESCRIPTORS = { qmp: 3, channel: 4, state: 5 } as const;
const STATE_FILE = 'state';
const DISK = { source: 'disk.qcow2', restored: 'restored.qcow2' } as const;

/** Bytes a second; QEMU's own limit of 128 MiB/s would be measured instead of QEMU. */
const UNLIMITED = 1e12;

/**
 * QEMU as everybody has it: plain memory, `migrate` and `-incoming`. Machine and devices are the ones our driver chose
 * (they start faster than the defaults), so that the difference is in how memory and state travel and in nothing else.
 */
export class StockQemu implements AsyncDisposable {
  private readonly ended: Promise<unknown>;
  private stderr = '';
  private qmp: QmpConnection | undefined;

  private constructor(
    private readonly child: ChildProcess,
    private readonly channel: Duplex,
  ) {
    this.ended = once(child, 'close').catch(() => undefined);
    child.stderr?.on('data', (data: Buffer) => (this.stderr = (this.stderr + data.toString()).slice(-4096)));
    channel.on('error', () => undefined); // QEMU is gone: the QMP connection says so
  }

  /** Makes a disk layer, boots, and resolves when the guest agent opened its channel. */
  static async boot(machine: StockMachine, signal: AbortSignal): Promise<StockQemu> {
    const { vmlinuz, initrd, commandLine } = machine.kernel;
    const layer = join(machine.directory, DISK.source);
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', machine.rootDisk, layer], {
      cancelSignal: signal,
      stdin: 'ignore',
    });
    const vm = await StockQemu.start(
      machine,
      DISK.source,
      ['-kernel', vmlinuz, '-initrd', initrd, '-append', commandLine],
      undefined,
      signal,
    );
    return vm.orEnd(async () => {
      await heard(vm.channel, SYNC_MAGIC, signal);
      await vm.command.execute('migrate-set-parameters', { 'max-bandwidth': UNLIMITED });
    });
  }

  /**
   * Restores what {@link save} wrote into the machine's folder, on a copy of the disk, and lets it run. The state comes
   * through an inherited descriptor, the fastest way this QEMU has.
   * @returns with milliseconds from the start of the process to the running guest, and from there to its agent's answer
   */
  static async restore(
    machine: StockMachine,
    signal: AbortSignal,
  ): Promise<{ vm: StockQemu; spawnMs: number; loadMs: number; resumeMs: number; answerMs: number }> {
    const { directory } = machine;
    await copyFile(join(directory, DISK.source), join(directory, DISK.restored));
    await using state = await open(join(directory, STATE_FILE), 'r');
    const started = performance.now();
    const vm = await StockQemu.start(machine, DISK.restored, ['-S', '-incoming', 'defer'], state.fd, signal);
    const spawned = performance.now();
    let [loaded, resumed] = [spawned, spawned];
    await vm.orEnd(async () => {
      await vm.command.migrate('migrate-incoming', `fd:${String(DESCRIPTORS.state)}`);
      loaded = performance.now();
      // The agent answers a session that is asked for; the question waits for it, as a fork's wake does.
      const session = encodeSync(newSessionId());
      const answer = heard(vm.channel, session, signal);
      answer.catch(() => undefined); // awaited below
      vm.channel.write(session);
      await vm.command.execute('cont');
      resumed = performance.now();
      await answer;
    });
    const [spawnMs, loadMs, resumeMs] = [spawned - started, loaded - spawned, resumed - loaded];
    return { vm, spawnMs, loadMs, resumeMs, answerMs: performance.now() - resumed };
  }

  /** Stops the VM and writes all of it into a file of the machine's folder; it stays stopped. Milliseconds for both. */
  async save(): Promise<number> {
    const started = performance.now();
    await this.command.execute('stop');
    // `file:` exists since QEMU 8.2 only. The name is a constant without anything a shell would see.
    await this.command.migrate('migrate', `exec:cat > ${STATE_FILE}`);
    return performance.now() - started;
  }

  /** Lets a stopped VM run until its agent has answered. */
  async run(signal: AbortSignal): Promise<void> {
    const session = encodeSync(newSessionId());
    const answer = heard(this.channel, session, signal);
    answer.catch(() => undefined); // awaited below
    this.channel.write(session);
    await this.command.execute('cont');
    await answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  private static async start(
    machine: StockMachine,
    disk: string,
    more: readonly string[],
    state: number | undefined,
    signal: AbortSignal,
  ): Promise<StockQemu> {
    signal.throwIfAborted();
    const inherited = state === undefined ? [] : [state];
    const child = spawn('qemu-system-x86_64', [...machineArguments(machine, disk), ...more], {
      cwd: machine.directory,
      // A pipe of Node is a pair of connected sockets: QEMU takes its end as it is.
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', ...inherited],
    });
    const [qmp, channel] = [child.stdio[DESCRIPTORS.qmp], child.stdio[DESCRIPTORS.channel]];
    if (child.pid === undefined || !(qmp instanceof Duplex) || !(channel instanceof Duplex)) {
      const [error] = (await once(child, 'error')) as [Error];
      throw error;
    }
    const vm = new StockQemu(child, channel);
    return vm.orEnd(async () => {
      vm.qmp = await QmpConnection.over(qmp);
      await vm.qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    });
  }

  private get command(): QmpConnection {
    if (this.qmp === undefined) throw new Error('QEMU has not been started');
    return this.qmp;
  }

  /** Does something with this VM; on failure ends it, and says what QEMU said. */
  private async orEnd(work: () => Promise<void>): Promise<this> {
    try {
      await work();
      return this;
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw new Error(`stock QEMU: ${this.stderr.trim() || 'it said nothing'}`, { cause: error });
    }
  }
}

function machineArguments({ accelerator, memoryMib, rootDisk }: StockMachine, disk: string): string[] {
  const root = { driver: 'raw', 'node-name': 'root', 'read-only': true, file: { driver: 'file', filename: rootDisk } };
  const layer = { driver: 'qcow2', 'node-name': 'disk', file: { driver: 'file', filename: disk }, backing: 'root' };
  return [
    ['-no-user-config', '-nodefaults', '-no-reboot', '-display', 'none'],
    ['-machine', 'q35,smm=off,hpet=off,vmport=off,sata=off,smbus=off,usb=off,graphics=off'],
    ['-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=256'],
    ['-cpu', accelerator === 'kvm' ? 'host' : 'max', '-smp', '1', '-m', `${String(memoryMib)}M`],
    ['-chardev', `socket,id=qmp,fd=${String(DESCRIPTORS.qmp)}`, '-mon', 'chardev=qmp,mode=control'],
    ['-serial', 'null'],
    ['-blockdev', JSON.stringify(root), '-blockdev', JSON.stringify(layer)],
    ['-device', 'virtio-blk-pci,drive=disk,disable-legacy=on'],
    ['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,disable-legacy=on,romfile='],
    ['-device', 'virtio-serial-pci,disable-legacy=on'],
    ['-chardev', `socket,id=channel,fd=${String(DESCRIPTORS.channel)}`],
    ['-device', 'virtserialport,chardev=channel,name=offshoot.0'],
    ['-object', 'rng-builtin,id=rng', '-device', 'virtio-rng-pci,rng=rng,disable-legacy=on'],
  ].flat();
}

/** Resolves when `wanted` stands in what comes through the stream. */
function heard(stream: Duplex, wanted: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let last = Buffer.alloc(0);
    const settle = (error?: Error): void => {
      stream.off('data', take).off('close', closed);
      signal.removeEventListener('abort', aborted);
      if (error === undefined) resolve();
      else reject(error);
    };
    const take = (chunk: Buffer): void => {
      const bytes = Buffer.concat([last, chunk]);
      if (bytes.includes(wanted)) settle();
      else last = Buffer.from(bytes.subarray(-wanted.length));
    };
    const closed = (): void => {
      settle(new Error('QEMU ended'));
    };
    const aborted = (): void => {
      settle(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    stream.on('data', take).once('close', closed);
    signal.addEventListener('abort', aborted);
    if (signal.aborted) aborted();
  });
}
