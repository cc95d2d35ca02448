import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { isLayerName } from '../../host-agent/src/domain/layer-name.js';
import { addLayer, diskFileOf } from '../../host-agent/src/drivers/qemu/disk-layer.js';
import { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import { CapturePaths } from '../../host-agent/src/paths.js';
import type { LaunchSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { Qcow2Disks } from '../../host-agent/src/storage/qcow2-disks.js';
import { consoleSays } from '../bare-guest/guest-control.js';
import type { Lab } from './lab.js';

const run = promisify(execFile);
/** As a filesystem without reflinks has them. */
export const disks = new Qcow2Disks(false);

/** A VM whose disk is laid, written and read as a daemon and a guest do it. */
export class LayeredVm {
  private constructor(
    private readonly lab: Lab,
    readonly spec: LaunchSpec,
    readonly folder: CapturePaths,
    public vm: Vm,
  ) {}

  /** @param prepare puts another disk in the place of the blank one */
  static async launch(
    lab: Lab,
    name: string,
    prepare: (folder: CapturePaths) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<LayeredVm> {
    const spec = await lab.spec(name);
    const folder = new CapturePaths(spec.directory);
    await prepare(folder);
    const vm = lab.keep(await lab.driver().launch(spec));
    await consoleSays(spec, 'armed\n');
    return new LayeredVm(lab, spec, folder, vm);
  }

  /** As a daemon that has nothing to do with the one before. */
  async nextDaemon(between: (qmp: QmpClient) => Promise<unknown> = () => Promise.resolve()): Promise<void> {
    await this.vm.detach();
    const qmp = await QmpClient.connect(join(this.spec.runDirectory, 'qmp.sock'));
    try {
      await between(qmp);
    } finally {
      qmp.close();
      this.vm = this.lab.keep((await this.lab.driver().adopt(this.vm.process, this.spec))!);
    }
  }

  /** Reads and writes as the guest's own disk does. */
  ask(...commands: string[]): Promise<void> {
    return this.nextDaemon(async (qmp) => {
      for (const command of commands) await this.askBy(qmp, command);
    });
  }
  /** The same, with a layer laid after each command. */
  askAndLay(...commands: string[]): Promise<void> {
    return this.nextDaemon(async (qmp) => {
      for (const command of commands) {
        await this.askBy(qmp, command);
        await addLayer(qmp, await disks.prepareLayer(this.folder));
        await disks.settle(this.folder, await diskFileOf(qmp, this.spec));
      }
    });
  }
  write(pattern: number, at: string): Promise<void> {
    return this.ask(`write -q -P ${String(pattern)} ${at} 1M`);
  }
  reads(pattern: number, at: string): Promise<void> {
    return this.ask(`read -q -P ${String(pattern)} ${at} 1M`);
  }

  private async askBy(qmp: QmpClient, command: string): Promise<void> {
    const said = await qmp.run('human-monitor-command', {
      'command-line': `qemu-io -d /machine/peripheral-anon/device[0]/virtio-backend "${command}"`,
    });
    // Errors are in the answer; that a pattern is another one, qemu-io prints.
    const log = await readFile(join(this.spec.logDirectory, 'vmm.log'), 'utf8');
    expect(`${String(said)}${log}`, command).toBe('');
  }

  async lay(): Promise<string> {
    const file = await disks.prepareLayer(this.folder);
    await this.vm.layDisk(file);
    await disks.settle(this.folder, await this.vm.diskFile());
    return file;
  }

  /** Names in the folder. */
  async layers(): Promise<string[]> {
    return (await readdir(this.spec.directory)).filter(isLayerName).sort();
  }

  /** Files of the disk from the top down, as QEMU finds them by itself. */
  async chain(): Promise<string[]> {
    const { stdout } = await run('qemu-img', ['info', '-U', '--backing-chain', '--output=json', this.spec.disk.path]);
    return (JSON.parse(stdout) as { filename: string }[]).map(({ filename }) => filename);
  }
}

/** Checks with `qemu-io` that a disk reads as `PATTERN OFFSET`, a MiB each. */
export async function readsOf(disk: string, ...patterns: string[]): Promise<void> {
  const { stdout } = await run('qemu-io', [...patterns.flatMap((pattern) => ['-c', `read -P ${pattern} 1M`]), disk]);
  expect(stdout).not.toMatch(/verification failed/i);
  expect(stdout.match(/read 1048576\/1048576 bytes/g)).toHaveLength(patterns.length);
}
