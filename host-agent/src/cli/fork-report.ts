import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import {
  ForkInstancesResponse,
  type ForkInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { CommandContext } from './command-context.js';
import { writeAll } from './daemon-client.js';
import { formatDuration, formatState, printable } from './format-values.js';
import { protoJson } from './proto-json.js';
import { table } from './tables.js';

const PHASES = ['clone', 'spawn', 'load', 'patch', 'resume', 'network', 'ack', 'total'] as const;

/** For people: who runs where, what the guest said, where the time went. */
export function describeFork({ instance, acks, timings }: ForkInstanceResponse): string {
  const lines = [headline(instance)];
  for (const { mailbox, stage, detail, latency } of acks)
    lines.push(
      stage === ''
        ? `${mailbox}: not acknowledged in time`
        : printable(`${mailbox}: ${stage} after ${formatDuration(latency)}${detail === '' ? '' : `: ${detail}`}`),
    );
  if (timings?.sourcePause !== undefined)
    lines.push(`the source stood still for ${formatDuration(timings.sourcePause)}`);
  if (timings !== undefined)
    lines.push(
      table(
        PHASES.map((phase) => phase.toUpperCase()),
        [PHASES.map((phase) => formatDuration(timings[phase]))],
      ),
    );
  return lines.join('\n');
}

const headline = (instance: ForkInstanceResponse['instance']): string =>
  instance === undefined || instance.state === InstanceState.INSTANCE_STATE_RUNNING
    ? `${instance?.name ?? ''} runs at ${instance?.network?.ipv4 ?? ''}`
    : `${instance.name} is ${formatState(instance.state)}`;

/** Tells of each of several forks as it is ready. @throws Error in the end when one of them failed */
export async function reportForks(
  context: CommandContext,
  outcomes: AsyncIterable<ForkInstancesResponse>,
  count: number,
): Promise<void> {
  const answers: ForkInstancesResponse[] = [];
  for await (const answer of outcomes) {
    answers.push(answer);
    if (!context.json) await writeAll(process.stdout, `${line(answer)}\n`);
  }
  if (context.json)
    await context.print({
      json: async () => ({
        forks: await Promise.all(
          answers.map((answer) => protoJson('ForkInstancesResponse', ForkInstancesResponse, answer)),
        ),
      }),
      text: () => '',
    });
  const failed = answers.filter(({ outcome }) => outcome?.$case !== 'fork').length;
  if (failed > 0) throw new Error(`${String(failed)} of ${String(count)} forks failed`);
}

function line({ index, outcome }: ForkInstancesResponse): string {
  if (outcome?.$case !== 'fork')
    return printable(`fork ${String(index)} failed: ${outcome?.failure.message ?? 'no reason was given'}`);
  const { instance, acks, timings } = outcome.fork;
  const said = acks.map(({ mailbox, detail }) => `${mailbox}: ${detail}`).join(', ');
  const where = instance?.network?.ipv4 ?? '';
  return printable(
    `${instance?.name ?? ''} at ${where} after ${formatDuration(timings?.total)}${said === '' ? '' : `: ${said}`}`,
  );
}
