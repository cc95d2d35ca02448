import {
  CheckOutcome,
  DoctorRequest,
  DoctorResponse,
  type DoctorCheck,
} from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { EXIT_CODES } from '../exit-codes.js';
import { printable } from '../format-values.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

interface DoctorOptions {
  readonly fix?: true;
}

/** As people are told. */
const WORDS: Readonly<Partial<Record<CheckOutcome, 'pass' | 'warn' | 'fail'>>> = {
  [CheckOutcome.CHECK_OUTCOME_PASS]: 'pass',
  [CheckOutcome.CHECK_OUTCOME_WARN]: 'warn',
  [CheckOutcome.CHECK_OUTCOME_FAIL]: 'fail',
};
const wordOf = ({ outcome }: DoctorCheck): string => WORDS[outcome] ?? 'unknown';

export const defineDoctor: Define = (program, run) => {
  program
    .command('doctor')
    .description('check everything that has to be right on this host; exits with 1 when a check fails')
    .option('--fix', 'remove what is left of instances that do not exist')
    .action((options: DoctorOptions) =>
      run(async (context) => {
        const { client } = context;
        const checks: DoctorCheck[] = [];
        const request = DoctorRequest.fromPartial({ fix: options.fix ?? false });
        for await (const { check } of client.stream<DoctorRequest, DoctorResponse>(
          client.host.doctor.bind(client.host),
          request,
        ))
          if (check !== undefined) checks.push(check);
        const summary = { pass: 0, warn: 0, fail: 0, ...countOf(checks.map(wordOf)) };
        await context.print({
          json: async () => {
            const found = await Promise.all(
              checks.map(
                (check) => protoJson('DoctorResponse', DoctorResponse, { check }) as Promise<{ check: object }>,
              ),
            );
            return { checks: found.map(({ check }) => check), summary };
          },
          text: () => describe(checks, summary),
        });
        if (summary.fail > 0) process.exitCode = EXIT_CODES.failure.code;
      }),
    );
};

const countOf = (words: readonly string[]): Readonly<Record<string, number>> => {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
};

function describe(checks: readonly DoctorCheck[], summary: Readonly<Record<'pass' | 'warn' | 'fail', number>>): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap((check) => [
    `${wordOf(check)}  ${check.name.padEnd(width)}  ${printable(check.detail)}`,
    ...(check.remedy === '' ? [] : [`${' '.repeat(width + 8)}-> ${printable(check.remedy)}`]),
  ]);
  const { pass, warn, fail } = summary;
  return `${lines.join('\n')}\n\nsummary: ${String(pass)} pass, ${String(warn)} warn, ${String(fail)} fail`;
}
