import { mkdirSync, readFileSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidState, Timeout, Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import { log } from '../log.js';

const MOUNT = '/sys/fs/cgroup';
const NAME = 'offshoot.workload';
/** A process in the middle of a disk request is frozen when that is over. */
const FREEZE_LIMIT_MS = 2000;

/**
 * The control group (v2) of what the agent starts, which can be frozen as a whole. Without the file system of control groups
 * workloads run all the same, and cannot be frozen.
 */
export class WorkloadCgroup {
  private everUsed = false;
  private isFrozen = false;

  private constructor(
    private readonly folder: string | undefined,
    /** The agent's own group. */
    private readonly home: string,
    private readonly mount: string,
  ) {}

  static open(mount = MOUNT, name = NAME): WorkloadCgroup {
    try {
      const own = ownGroup();
      const folder = join(mount, name);
      readFileSync(join(mount, 'cgroup.procs'), 'latin1'); // version 1 and plain folders have none here
      mkdirSync(folder, { recursive: true });
      const group = new WorkloadCgroup(folder, join(mount, own), mount);
      // An agent before us may have died while it was frozen.
      group.isFrozen = readFileSync(join(folder, 'cgroup.freeze'), 'latin1').trim() === '1';
      group.everUsed = readFileSync(join(folder, 'cgroup.procs'), 'latin1') !== '';
      return group;
    } catch (error) {
      log(`workloads cannot be frozen: ${messageOf(error)}`);
      return new WorkloadCgroup(undefined, mount, mount);
    }
  }

  get frozen(): boolean {
    return this.isFrozen;
  }

  /**
   * Spawns within the group: the agent itself is in it for the length of the call, so that the child is from its first
   * instruction. Nothing else runs meanwhile, so nobody can freeze the group with the agent in it.
   * @throws InvalidState while it is frozen
   */
  spawnInside<Child>(spawn: () => Child): Child {
    if (this.isFrozen) throw new InvalidState('the workload is frozen for a capture', { reason: 'WORKLOAD_FROZEN' });
    this.everUsed = true;
    if (this.folder === undefined) return spawn();
    moveTo(this.folder);
    try {
      return spawn();
    } finally {
      moveTo(this.home);
    }
  }

  /**
   * Resolves when every process of the group stands still.
   * @throws Unsupported without control groups, when there is a workload; Timeout after 2 s; what the signal is aborted with
   */
  async freeze(signal: AbortSignal): Promise<void> {
    const { folder } = this;
    if (folder === undefined) {
      if (!this.everUsed) return;
      throw new Unsupported('this guest has no control groups (v2) to freeze its workload with', {
        reason: 'CGROUP_MISSING',
      });
    }
    if (join(this.mount, ownGroup()) === folder)
      throw new InvalidState('the agent is in the group of the workload', { reason: 'CGROUP_MISPLACED' });
    this.isFrozen = true;
    try {
      await standstill(folder, signal);
    } catch (error) {
      this.thaw();
      throw error;
    }
  }

  /** Lets the group run on. @throws what the kernel refuses it with */
  thaw(): void {
    if (this.folder === undefined || !this.isFrozen) return;
    writeFileSync(join(this.folder, 'cgroup.freeze'), '0');
    this.isFrozen = false;
  }
}

/** Freezes and waits for `frozen 1` in cgroup.events, which the kernel announces as a change of that file. */
function standstill(folder: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const limit = AbortSignal.timeout(FREEZE_LIMIT_MS);
    const events = join(folder, 'cgroup.events');
    const watcher = watch(events);
    const settle = (act: () => void): void => {
      watcher.close();
      signal.removeEventListener('abort', look);
      limit.removeEventListener('abort', look);
      act();
    };
    const look = (): void => {
      if (signal.aborted) {
        settle(() => {
          reject(signal.reason as Error);
        });
      } else if (readFileSync(events, 'latin1').includes('frozen 1')) {
        settle(resolve);
      } else if (limit.aborted) {
        settle(() => {
          reject(
            new Timeout(`the workload does not stand still within ${String(FREEZE_LIMIT_MS)} ms`, {
              reason: 'WORKLOAD_NOT_FROZEN',
            }),
          );
        });
      }
    };
    watcher.on('change', look);
    watcher.once('error', (error) => {
      settle(() => {
        reject(error);
      });
    });
    signal.addEventListener('abort', look);
    limit.addEventListener('abort', look);
    try {
      writeFileSync(join(folder, 'cgroup.freeze'), '1');
      look();
    } catch (error) {
      settle(() => {
        reject(error instanceof Error ? error : new Error(messageOf(error)));
      });
    }
  });
}

const moveTo = (folder: string): void => {
  writeFileSync(join(folder, 'cgroup.procs'), String(process.pid));
};

/** Path of this process's group below the mount; `0::/path` is version 2's line. */
function ownGroup(): string {
  try {
    const line = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1];
    if (line !== undefined) return line;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  throw new Unsupported('no control groups (v2)', { reason: 'CGROUP_MISSING' });
}
