import { EventEmitter, once } from 'node:events';
import PQueue from 'p-queue';
import { messageOf } from '@offshoot/shared/errors.js';
import { DRIVER_CAPABILITIES } from '../domain/driver-capabilities.js';
import type { InstanceId } from '../domain/ids.js';
import { LIVE_STATES, RESTING_STATES } from '../domain/instance-state.js';
import type { LayerMerge } from '../ports/disk-storage.js';
import type { Dependencies } from './dependencies.js';
import type { Locks } from './locks.js';
import type { RunningInstances } from './running-instances.js';

type Parts = Pick<Dependencies, 'store' | 'disks' | 'paths' | 'logger'> & {
  readonly locks: Pick<Locks, 'exclusiveLast'>;
  readonly running: Pick<RunningInstances, 'get'>;
};

interface Merging {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

/**
 * Keeps the disks of instances on few layers, one disk after the other in the background: too many layers are copied into one
 * beside the disk, without any lock, and the instance has its lock taken only for the moment in which its disk is told to stand
 * on that one. Nothing waits for it: it is not copied while a VM is captured, and whoever wants the lock has it first.
 *
 * Nothing of it is recorded. A daemon that ends in between leaves files that the next one finds to be nobody's: see
 * {@link LayerMerge} and the disk storage's `settle`. The next layer of the disk is then the next occasion.
 */
export class LayerMerger {
  private readonly queue = new PQueue({ concurrency: 1 });
  private readonly underWay = new Map<InstanceId, Merging>();
  private readonly captures = new EventEmitter();
  private capturing = 0;

  constructor(private readonly parts: Parts) {}

  /** To be called when a disk has got a layer. Begins without waiting; a failure is logged. */
  consider(id: InstanceId): void {
    if (this.underWay.has(id)) return;
    const abort = new AbortController();
    const done = this.queue
      .add(() => this.merge(id, abort.signal))
      .catch((error: unknown) => {
        if (!abort.signal.aborted)
          this.parts.logger.warn({ instance: id, error: messageOf(error) }, 'the layers of a disk were not merged');
      })
      .finally(() => {
        this.underWay.delete(id);
      });
    this.underWay.set(id, { abort, done });
  }

  isMerging(id: InstanceId): boolean {
    return this.underWay.has(id);
  }

  /** While a guest stands still, or is about to, nothing is copied: the capture has disk and processors for itself. */
  holdOff(): Disposable {
    this.capturing += 1;
    return {
      [Symbol.dispose]: () => {
        this.capturing -= 1;
        if (this.capturing === 0) this.captures.emit('over');
      },
    };
  }

  /** Ends the work on a disk that is about to be removed. */
  async forget(id: InstanceId): Promise<void> {
    const merging = this.underWay.get(id);
    merging?.abort.abort(new Error('the instance is being deleted'));
    await merging?.done;
  }

  async close(): Promise<void> {
    for (const { abort } of this.underWay.values()) abort.abort(new Error('the daemon is stopping'));
    await Promise.all([...this.underWay.values()].map(({ done }) => done));
  }

  private async merge(id: InstanceId, signal: AbortSignal): Promise<void> {
    const { store, disks, paths, locks, logger } = this.parts;
    const instance = store.byId(id);
    if (instance === undefined || !DRIVER_CAPABILITIES[instance.driver].diskLayers) return;
    const turn = async (): Promise<void> => {
      signal.throwIfAborted();
      while (this.capturing > 0) await once(this.captures, 'over', { signal });
    };
    await turn();
    const started = performance.now();
    await using merge = await disks.of(instance).mergeLayers(paths.instance(id), turn, signal);
    if (merge === undefined) return;
    for (;;) {
      await turn();
      {
        using _lock = await locks.exclusiveLast(id, signal);
        const progress = store.byId(id) === undefined ? 'void' : merge.progress();
        if (progress === 'void') return;
        if (progress === 'whole') {
          await this.takeUp(id, merge, signal);
          logger.debug({ instance: id, ms: performance.now() - started }, 'merged the layers of a disk');
          return;
        }
      }
      await merge.catchUp(signal);
    }
  }

  /** With the instance's lock, so that the disk gets no layers and nobody clones it meanwhile. */
  private async takeUp(id: InstanceId, merge: LayerMerge, signal: AbortSignal): Promise<void> {
    const { store, disks, paths, running } = this.parts;
    const instance = store.byId(id);
    if (instance === undefined) return;
    const storage = disks.of(instance);
    const folder = paths.instance(id);
    const vm = running.get(id)?.vm;
    if (LIVE_STATES.includes(instance.state)) {
      if (vm === undefined) return; // it has just ended, which is about to be recorded
      const file = await merge.publish();
      try {
        await vm.changeBacking(file, signal);
      } finally {
        await storage.settle(folder, await vm.diskFile());
      }
    } else if (RESTING_STATES.includes(instance.state)) {
      await storage.changeBacking(folder, await merge.publish());
      await storage.settle(folder);
    }
  }
}
