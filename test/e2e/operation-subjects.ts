import { InstanceState as S, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { expect } from 'vitest';
import { CutShortHost } from '../harness/cut-short-host.js';
import { ImageDirectory } from '../harness/image-directory.js';
import type { TestHost } from '../harness/test-host.js';
import { SubjectCalls, type Kept, type Scenario } from './operation-scenarios.js';

const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

/** A host whose operations are cut short, with the instances that {@link Scenario}s need and one that none of them touches. */
export class OperationSubjects implements AsyncDisposable {
  private subjects = 0;

  private constructor(
    readonly cut: CutShortHost,
    readonly calls: SubjectCalls,
    private readonly images: ImageDirectory,
    private readonly bystander: Instance,
  ) {}

  static async start(): Promise<OperationSubjects> {
    const images = await ImageDirectory.create();
    const cut = await CutShortHost.start({ settings: { images_dir: images.path } });
    try {
      const { host } = cut;
      const calls = new SubjectCalls(() => host);
      await calls.create('parked');
      await host.logLine('parked', (line) => countOf(line) > 2);
      await host.standby('parked');
      await host.fork({ source: 'parked', name: 'disk', targetState: S.INSTANCE_STATE_STOPPED });
      const { instance } = await calls.fork('bystander');
      return new OperationSubjects(cut, calls, images, instance!);
    } catch (error) {
      await cut[Symbol.asyncDispose]();
      await images[Symbol.asyncDispose]();
      throw error;
    }
  }

  get host(): TestHost {
    return this.cut.host;
  }

  /** A name that no instance has had. */
  fresh(): string {
    return `subject-${String(++this.subjects)}`;
  }

  async pidOf(name: string): Promise<number | undefined> {
    return (await this.host.list()).find((instance) => instance.name === name)?.vmmPid;
  }

  async stateOf(name: string): Promise<Kept> {
    return (await this.host.list()).find((instance) => instance.name === name)?.state ?? 'gone';
  }

  /** The subject, while it is there, and what was made of it. */
  async namesLike(name: string): Promise<readonly string[]> {
    return (await this.host.list()).map((each) => each.name).filter((each) => each.startsWith(name));
  }

  /**
   * The steps of the scenario's operation that it is to be cut short at.
   * @param taken told of every step, "operation: step", where the operation is first watched when nobody cuts it short
   */
  async stepsOf(
    { operation, prepare, act, only }: Scenario,
    taken?: (step: string) => void,
  ): Promise<readonly string[]> {
    if (only !== undefined) return only;
    const name = this.fresh();
    await prepare(name);
    const steps = await this.cut.stepsOf(() => act(name));
    steps.forEach((step) => taken?.(step));
    await this.removeAll(name);
    return steps.filter((step) => step.startsWith(`${operation}: `)).map((step) => step.split(': ')[1]!);
  }

  /** Removes the subject, or all of them, and what was made of it. */
  async removeAll(name = 'subject-'): Promise<void> {
    for (const each of await this.namesLike(name)) await this.host.delete(each);
    await this.calls.removeSnapshots(name);
  }

  /** Whatever the instance is now, it can be used as such. */
  async assertUsable(name: string, state: S): Promise<void> {
    const { cut, host } = this;
    const { id } = (await host.get(name)).instance!;
    expect(S[state]).toContain(cut.recordedState(id));
    if (state === S.INSTANCE_STATE_STOPPED) {
      for (const file of ['memory', 'device-state']) expect(cut.hasFile(id, file), file).toBe(false);
      await this.calls.fork(`${name}-disk`, { source: name });
      await host.delete(`${name}-disk`);
      return;
    }
    if (state === S.INSTANCE_STATE_STANDBY) await host.restore(name);
    if (state === S.INSTANCE_STATE_PAUSED) await host.resume(name);
    await this.goesOn(name);
  }

  /** No file, process, address or entry in the journal is left of anything, and the bystander is as it was. */
  async assertNothingLeaked(): Promise<void> {
    const { cut, host, images, bystander } = this;
    expect([...cut.leftovers(), ...(await images.leftovers())]).toEqual([]);
    const instances = await host.list();
    const processes = instances.filter(({ vmmPid }) => vmmPid !== 0).length;
    const taps = host.machine.namespace === undefined ? 0 : processes;
    expect(host.machine.traces()).toEqual({ folders: instances.length, processes, taps });
    expect(host.machine.captures()).toBe(0);
    expect(host.machine.snapshots()).toBe((await this.calls.snapshots.list()).length);
    const { vmmPid, state } = instances.find(({ id }) => id === bystander.id)!;
    expect({ vmmPid, state }).toEqual({ vmmPid: bystander.vmmPid, state: S.INSTANCE_STATE_RUNNING });
  }

  /** All subjects are gone, and what was there before them runs on. */
  async assertAlone(): Promise<void> {
    expect(await this.host.list()).toHaveLength(3);
    await this.goesOn('bystander');
  }

  /** The workload says more than it has said, with no number missing and none said twice but where it was booted anew. */
  private async goesOn(name: string): Promise<void> {
    const bytes = await this.host.logBytes(name);
    let seen = 0;
    let last: number | undefined;
    for await (const line of this.host.logLines(name)) {
      const count = countOf(line);
      if (Number.isNaN(count)) continue;
      if (last !== undefined && count !== 1) expect(count, name).toBe(last + 1);
      last = count;
      seen += `count ${String(count)}\n`.length;
      if (seen > bytes) return;
    }
    throw new Error(`the log of ${name} ended`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cut[Symbol.asyncDispose]();
    await this.images[Symbol.asyncDispose]();
  }
}
