import { setMaxListeners } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ListInstancesRequest } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import * as z from 'zod';
import { DaemonClient } from '../cli/daemon-client.js';
import { DaemonProcess, type DaemonOptions } from '../demo/daemon-process.js';
import { buildDefaultImage } from '../demo/default-image.js';
import { privateNetwork } from '../demo/private-network.js';
import { describeMachine, type Machine } from './machine.js';
import { OurInstances } from './our-instances.js';
import type { StockMachine } from './stock-qemu.js';

const imagesDirectory = fileURLToPath(new URL('../../../.cache/images', import.meta.url));

const IMAGE = z.object({ kernelParameters: z.string() });

/** A daemon of the bench's own, in a folder that goes with it, and its instances with both. */
export class BenchDaemon implements AsyncDisposable {
  private constructor(
    private readonly options: DaemonOptions,
    private daemon: DaemonProcess,
    readonly client: DaemonClient,
    /** Everything of the bench, on one disk. */
    readonly directory: string,
    readonly machine: Machine,
    readonly image: { readonly id: string; readonly kernelRelease: string },
  ) {}

  /** @param restarts whether it is to be restarted while VMs run, which a network of its own would not outlive */
  static async start(restarts: boolean, onStep: (step: string) => void, signal: AbortSignal): Promise<BenchDaemon> {
    const { id, kernelRelease } = await buildDefaultImage(imagesDirectory, onStep, signal);
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-bench-'));
    let daemon: DaemonProcess | undefined;
    let client: DaemonClient | undefined;
    try {
      const options: DaemonOptions = {
        settings: {
          state_dir: join(directory, 'state'),
          images_dir: imagesDirectory,
          listen: `unix://${join(directory, 'api.sock')}`,
          log_level: restarts ? 'info' : 'warn',
          ...(restarts ? { 'network.mode': 'user' } : {}),
        },
        through: restarts ? [] : privateNetwork(),
      };
      daemon = await DaemonProcess.start(options);
      client = new DaemonClient(daemon.address, signal);
      const machine = await describeMachine(client);
      return new BenchDaemon(options, daemon, client, directory, machine, { id, kernelRelease });
    } catch (error) {
      client?.[Symbol.dispose]();
      await daemon?.[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  get daemonPid(): number {
    return this.daemon.pid;
  }

  /** Kills the daemon; another one takes its VMs over. Resolves when that serves. */
  async restart(): Promise<DaemonProcess> {
    await this.daemon.stop('SIGKILL');
    return (this.daemon = await DaemonProcess.start(this.options));
  }

  get imageDirectory(): string {
    return join(imagesDirectory, this.image.id);
  }

  /** What the peer boots: the same kernel, addressed by hand. */
  async kernelOfPeer(): Promise<StockMachine['kernel']> {
    const record = await readFile(join(this.imageDirectory, 'image.json'), 'utf8');
    const { kernelParameters } = IMAGE.parse(JSON.parse(record));
    return {
      vmlinuz: join(this.imageDirectory, 'vmlinuz'),
      initrd: join(this.imageDirectory, 'initrd'),
      commandLine: `${kernelParameters} offshoot.ipv4=10.0.2.15/24 offshoot.gateway=10.0.2.2 offshoot.hostname=stock`,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    try {
      await this.removeInstances();
    } finally {
      await this.daemon[Symbol.asyncDispose]();
      await rm(this.directory, { recursive: true, force: true });
    }
  }

  /** Also after a cancellation, hence a connection of its own. */
  private async removeInstances(): Promise<void> {
    const { signal } = new AbortController();
    setMaxListeners(0, signal); // one for each instance
    using client = new DaemonClient(this.daemon.address, signal);
    const list = client.instances.listInstances.bind(client.instances);
    const { instances } = await client.unary(list, ListInstancesRequest.fromPartial({ pageSize: 1000 }));
    const ours = new OurInstances(client);
    await Promise.allSettled(instances.map(({ id }) => ours.remove(id)));
  }
}
