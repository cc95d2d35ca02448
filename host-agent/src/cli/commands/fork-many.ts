import { ForkInstancesRequest, ForkInstancesResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { writeAll } from '../daemon-client.js';
import type { CommandContext } from '../command-context.js';
import { formatDuration, printable } from '../format-values.js';
import { protoJson } from '../proto-json.js';

/** Forks many times; tells of each as it is ready, and fails in the end when one of them did. */
export async function forkMany(context: CommandContext, request: ForkInstancesRequest): Promise<void> {
  const { instances } = context.client;
  const answers: ForkInstancesResponse[] = [];
  for await (const answer of context.client.stream<ForkInstancesRequest, ForkInstancesResponse>(
    instances.forkInstances.bind(instances),
    request,
  )) {
    answers.push(answer);
    if (!context.json) await writeAll(process.stdout, `${line(answer)}\n`);
  }
  if (context.json)
    await writeAll(
      process.stdout,
      `${JSON.stringify({ forks: answers.map((answer) => protoJson('ForkInstancesResponse', ForkInstancesResponse, answer)) }, undefined, 2)}\n`,
    );
  const failed = answers.filter(({ outcome }) => outcome?.$case !== 'fork').length;
  if (failed > 0) throw new Error(`${String(failed)} of ${String(request.count)} forks failed`);
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
