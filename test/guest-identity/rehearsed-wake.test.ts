import { quantile } from '@offshoot/host-agent/bench/statistics.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';
import { CloneLab, type Answer, type ForkAnswers, type TaskDelivery } from './clone-lab.js';

/** Forks of each kind, made in turn; OFFSHOOT_REHEARSED_FORKS for figures worth quoting. */
const FORKS = Number(process.env.OFFSHOOT_REHEARSED_FORKS ?? 2);

function shown(what: string, answers: readonly Answer[]): string {
  const ms = answers.map((answer) => answer.ms);
  const blocks = answers.flatMap(({ translated }) => translated ?? []);
  const code = blocks.length === 0 ? '' : `, ${quantile(blocks, 0.5).toFixed(0)} blocks translated`;
  return `${what}: p50 ${quantile(ms, 0.5).toFixed(0)} ms, p95 ${quantile(ms, 0.95).toFixed(0)} ms${code}`;
}

describe('a clone that walks its wake once before it becomes a fork', () => {
  let host: TestHost;
  let lab: CloneLab;
  const rehearsals: Answer[] = [];
  const plain: ForkAnswers[] = [];
  const rehearsed: ForkAnswers[] = [];
  const saidInRehearsal: string[] = [];

  async function rehearsedFork(task: TaskDelivery): Promise<void> {
    await using clone = await lab.clone();
    const rehearsal = await clone.rehearse();
    if (clone.hasMovedFrames) {
      await rehearsedFork(task);
      return;
    }
    rehearsals.push(rehearsal);
    saidInRehearsal.push(clone.said);
    rehearsed.push(await clone.fork(task));
  }

  beforeAll(async () => {
    host = await TestHost.start({ settings: { 'network.mode': 'user' } });
    await host.boot('source', 'fork-worker.cjs');
    lab = await CloneLab.open(host, await host.standby('source', 'task'));
    for (let n = 0; n < FORKS; n++) {
      const task = { name: 'task', json: JSON.stringify({ n }) };
      {
        await using clone = await lab.clone();
        plain.push(await clone.fork(task));
      }
      await rehearsedFork(task);
    }
    const lines = [
      shown('rehearsal', rehearsals),
      ...(['network', 'task'] as const).flatMap((part) => [
        shown(
          `${part} of a clone that never ran`,
          plain.map((answers) => answers[part]),
        ),
        shown(
          `${part} of a rehearsed one`,
          rehearsed.map((answers) => answers[part]),
        ),
      ]),
    ];
    console.log(lines.join('\n'));
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
  });

  it('runs nothing of its workload meanwhile', () => {
    expect(saidInRehearsal).toEqual(Array(FORKS).fill(''));
  });

  it('becomes the same as one that never ran', () => {
    const taskOf = ({ task }: ForkAnswers): unknown => JSON.parse(task.detail);
    rehearsed.forEach((answers, n) => {
      expect(taskOf(answers)).toEqual({
        task: { n },
        address: expect.stringMatching(/^\d+\.\d+\.\d+\.1\d\d$/) as string,
        mac: expect.stringMatching(/^52:54:00:00:01:/) as string,
      });
      expect((taskOf(answers) as { mac: string }).mac).not.toBe((taskOf(plain[n]!) as { mac: string }).mac);
    });
  });

  it('needs a fraction of the code translated for its answer, or of the time', () => {
    const ratio = (of: (answer: Answer) => number): number => {
      const [first, second] = [plain, rehearsed].map((all) =>
        quantile(
          all.map(({ network }) => of(network)),
          0.5,
        ),
      );
      return second! / first!;
    };
    // Where there is an emulator, what it translated tells more than the time, which is everybody's on this machine. The guest
    // goes on while it is asked, so more is counted than the answer took.
    const told = plain[0]!.network.translated !== undefined;
    expect(ratio(({ translated, ms }) => (told ? translated! : ms))).toBeLessThan(0.5);
  });
});
