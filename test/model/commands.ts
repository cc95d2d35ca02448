import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type fc from 'fast-check';
import { expect } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import type { SnapshotCalls } from '../harness/snapshot-calls.js';
import type { TestHost } from '../harness/test-host.js';
import {
  DELETABLE,
  forkedState,
  nextState,
  type HostModel,
  type ModelState,
  type SimpleCall,
  type Target,
} from './host-model.js';

export interface RealHost {
  readonly host: TestHost;
  readonly snapshots: SnapshotCalls;
}

type Command = fc.AsyncCommand<HostModel, RealHost>;

/** More would only make the test slow. */
const MOST_INSTANCES = 4;
const MOST_SNAPSHOTS = 3;

const wireState = (state: ModelState): InstanceState => InstanceState[`INSTANCE_STATE_${state}`];
const wireTarget = (target: Target | undefined): InstanceState =>
  target === undefined ? InstanceState.INSTANCE_STATE_UNSPECIFIED : wireState(target);

/** One step: what it does to the host and to the model; afterwards they must agree, whether it was refused or not. */
abstract class Step implements Command {
  abstract check(model: Readonly<HostModel>): boolean;
  abstract toString(): string;
  protected abstract take(model: HostModel, real: RealHost): Promise<void>;

  async run(model: HostModel, real: RealHost): Promise<void> {
    await this.take(model, real);
    await agree(model, real);
  }
}

/** Names, states and left-overs: what is there is what the model has, and nothing besides. */
async function agree(model: HostModel, { host, snapshots }: RealHost): Promise<void> {
  const found = Object.fromEntries((await host.list()).map(({ name, state }) => [name, InstanceState[state]]));
  const expected = [...model.instances].map(([name, state]) => [name, `INSTANCE_STATE_${state}`] as const);
  expect(found).toEqual(Object.fromEntries(expected));
  expect((await snapshots.list()).map(({ name }) => name)).toEqual([...model.snapshots.keys()]);
  expect(host.machine.traces()).toMatchObject({ folders: model.instances.size, processes: model.live });
  expect([host.machine.captures(), host.machine.snapshots()]).toEqual([0, model.snapshots.size]);
}

const refused = async (call: Promise<unknown>, status = 'FAILED_PRECONDITION'): Promise<void> => {
  expect(await failureOf(call)).toMatchObject({ status });
};

/** A call that takes an instance from one state to another, or is refused. */
export class SimpleStep extends Step {
  constructor(
    private readonly call: SimpleCall,
    private readonly which: number,
  ) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean => model.instances.size > 0;
  toString = (): string => `${this.call}(${String(this.which)})`;

  protected async take(model: HostModel, { host }: RealHost): Promise<void> {
    const { name, state } = model.instance(this.which);
    const next = nextState(this.call, state);
    const work = this.call === 'start' ? host.startInstance(name) : host[this.call](name);
    if (next === undefined) return refused(work);
    expect((await work).state).toBe(wireState(next));
    model.instances.set(name, next);
  }
}

export class DeleteStep extends Step {
  constructor(
    private readonly which: number,
    private readonly force: boolean,
  ) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean => model.instances.size > 0;
  toString = (): string => `delete(${String(this.which)}${this.force ? ', force' : ''})`;

  protected async take(model: HostModel, { host }: RealHost): Promise<void> {
    const { name, state } = model.instance(this.which);
    const work = host.delete(name, this.force);
    if (!this.force && !DELETABLE.includes(state)) return refused(work);
    await work;
    model.instances.delete(name);
  }
}

export class ForkStep extends Step {
  constructor(
    private readonly which: number,
    private readonly fromRunning: boolean,
    private readonly target: Target | undefined,
    private readonly count: number,
  ) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean =>
    model.instances.size > 0 && model.instances.size + this.count <= MOST_INSTANCES;
  toString = (): string =>
    `fork(${String(this.which)}${this.fromRunning ? ', from_running' : ''}, ${this.target ?? 'default'}, ${String(this.count)} times)`;

  protected async take(model: HostModel, { host }: RealHost): Promise<void> {
    const source = model.instance(this.which);
    const name = model.newName('fork');
    const { fromRunning, count } = this;
    const fork = { source: source.name, name, fromRunning, targetState: wireTarget(this.target) };
    const work = count === 1 ? host.fork(fork) : host.forkMany({ fork, count });
    const state = this.outcome(source.state);
    if (state === undefined) return refused(work);
    await work;
    const names = count === 1 ? [name] : Array.from({ length: count }, (_, i) => `${name}-${String(i)}`);
    const inOrderOfCreation = (await host.list())
      .map((instance) => instance.name)
      .filter((each) => names.includes(each));
    expect(inOrderOfCreation).toHaveLength(count);
    for (const each of inOrderOfCreation) model.instances.set(each, state);
    expect(model.instances.get(source.name)).toBe(source.state);
  }

  private outcome(source: ModelState): ModelState | undefined {
    if (source === 'FAILED') return undefined;
    if ((source === 'RUNNING' || source === 'PAUSED') && !this.fromRunning) return undefined;
    return forkedState(source !== 'STOPPED', this.target);
  }
}

export class CreateSnapshotStep extends Step {
  constructor(private readonly which: number) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean => model.instances.size > 0 && model.snapshots.size < MOST_SNAPSHOTS;
  toString = (): string => `snapshot(${String(this.which)})`;

  protected async take(model: HostModel, { snapshots }: RealHost): Promise<void> {
    const { name: source, state } = model.instance(this.which);
    const name = model.newName('snapshot');
    const work = snapshots.create({ instance: source, name, waitDurable: false });
    if (state === 'FAILED') return refused(work);
    const memory = state !== 'STOPPED';
    expect((await work).snapshot).toMatchObject({ hasMemory: memory });
    model.snapshots.set(name, { source, memory });
  }
}

export class ForkSnapshotStep extends Step {
  constructor(
    private readonly which: number,
    private readonly target: Target | undefined,
  ) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean => model.snapshots.size > 0 && model.instances.size < MOST_INSTANCES;
  toString = (): string => `forkSnapshot(${String(this.which)}, ${this.target ?? 'default'})`;

  protected async take(model: HostModel, { snapshots }: RealHost): Promise<void> {
    const { name: snapshot, memory } = model.snapshot(this.which);
    const name = model.newName('fork');
    const work = snapshots.fork({ snapshot, name, targetState: wireTarget(this.target) });
    const state = forkedState(memory, this.target);
    if (state === undefined) return refused(work);
    expect((await work).instance).toMatchObject({ name, state: wireState(state) });
    model.instances.set(name, state);
  }
}

export class RestoreSnapshotStep extends Step {
  constructor(private readonly which: number) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean => model.snapshots.size > 0;
  toString = (): string => `restoreSnapshot(${String(this.which)})`;

  protected async take(model: HostModel, { snapshots }: RealHost): Promise<void> {
    const { name, source, memory } = model.snapshot(this.which);
    const work = snapshots.restore(name);
    if (!model.instances.has(source)) return refused(work, 'NOT_FOUND');
    const state = memory ? 'RUNNING' : 'STOPPED';
    expect(await work).toMatchObject({ name: source, state: wireState(state) });
    model.instances.set(source, state);
  }
}

export class DeleteSnapshotStep extends Step {
  constructor(private readonly which: number) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean => model.snapshots.size > 1;
  toString = (): string => `deleteSnapshot(${String(this.which)})`;

  protected async take(model: HostModel, { snapshots }: RealHost): Promise<void> {
    const [, ...others] = model.snapshots.keys(); // the first is kept, to begin from
    const name = others[this.which % others.length]!;
    await snapshots.delete(name);
    model.snapshots.delete(name);
  }
}

/** A hypervisor dies by itself. */
export class KillVmmStep extends Step {
  constructor(private readonly which: number) {
    super();
  }
  check = (model: Readonly<HostModel>): boolean => model.live > 0;
  toString = (): string => `killVmm(${String(this.which)})`;

  protected async take(model: HostModel, { host }: RealHost): Promise<void> {
    const live = [...model.instances].filter(([, state]) => state === 'RUNNING' || state === 'PAUSED');
    const [name] = live[this.which % live.length]!;
    const { instance } = await host.get(name);
    process.kill(instance!.vmmPid, 'SIGKILL');
    await host.untilState(name, InstanceState.INSTANCE_STATE_FAILED);
    model.instances.set(name, 'FAILED');
  }
}

/** The daemon dies, and another one takes over. */
export class KillDaemonStep extends Step {
  check = (): boolean => true;
  toString = (): string => 'killDaemon()';

  protected async take(_: HostModel, { host }: RealHost): Promise<void> {
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
  }
}
