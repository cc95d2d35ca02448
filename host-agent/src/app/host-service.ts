import { availableParallelism, hostname, totalmem } from 'node:os';
import { LIVE_STATES } from '../domain/instance-state.js';
import { freeBytes } from '../os/disk-space.js';
import type { HostOperations, HostView } from './commands.js';
import type { Dependencies } from './dependencies.js';
import type { CheckResult, DoctorSubject } from './doctor/check.js';
import { examine } from './doctor/doctor.js';

/** What there is to say of the host. */
export class HostService implements HostOperations {
  constructor(
    private readonly dependencies: Dependencies,
    private readonly daemon: Pick<DoctorSubject, 'agentBundle' | 'listening'>,
  ) {}

  async describe(signal: AbortSignal): Promise<HostView> {
    const { version, drivers, network, acks, paths, store } = this.dependencies;
    const running = store.list({ states: LIVE_STATES });
    return {
      version,
      hostname: hostname(),
      drivers: await Promise.all([...drivers.values()].map((driver) => driver.probe(signal))),
      network: { ...network.status, ackPort: acks.port },
      vcpus: availableParallelism(),
      memoryBytes: totalmem(),
      diskFreeBytes: await freeBytes(paths.root),
      instances: store.count(),
      runningInstances: running.length,
      guestMemoryBytes: running.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
    };
  }

  examine({ fix }: { readonly fix: boolean }, signal: AbortSignal): AsyncGenerator<CheckResult, void, undefined> {
    return examine({ ...this.dependencies, ...this.daemon, root: '/', now: Date.now, fix }, signal);
  }
}
