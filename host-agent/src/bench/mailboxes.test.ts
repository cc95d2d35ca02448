import { describe, expect, it } from 'vitest';
import { judgeMailboxes, type DeliveryTimes, type MailboxesResult } from './mailboxes.js';
import { mailboxesReport } from './mailboxes-report.js';
import { summarize } from './statistics.js';

const scan = (what: string, readBytes: number, ms: number) => ({
  what,
  memoryMib: 512,
  fileBytes: 512 * 2 ** 20,
  readBytes,
  frames: 7,
  times: summarize([ms]),
});
const result: MailboxesResult = {
  scans: [scan('parked VM', 200e6, 80), scan('made file, half data', 200e6, 125), scan('made file, no data', 0, 0.1)],
  deliveries: [
    {
      memoryMib: 512,
      times: Object.fromEntries(
        ['open', 'small', 'large', 'patchWithNone', 'patchWithSmall', 'patchWithLarge'].map((line, i) => [
          line,
          summarize([0.25 + i]),
        ]),
      ) as DeliveryTimes,
    },
  ],
  indexes: [{ mailboxes: 5, frames: 5, bytes: 2400 }],
  loadAverage: { before: 0.1, after: 0.9 },
};

describe('the goal for the search of memory', () => {
  it('is judged by the data that was read a second, and not where there is none', () => {
    expect(judgeMailboxes(result).map(({ id, what, measured, met }) => [id, what, measured, met])).toEqual([
      ['P9', 'search, parked VM', 2.5, true],
      ['P9', 'search, made file, half data', 1.6, false],
    ]);
  });
});

describe('the report on mailboxes', () => {
  it('shows what was read beside what there is, and times far below a millisecond', () => {
    const lines = mailboxesReport(result)
      .split('\n')
      .map((line) => line.trim().split(/ {2,}/));
    expect(lines).toContainEqual([
      'parked VM, 512 MiB',
      '512 MiB',
      '190.7 MiB',
      '7',
      '1',
      '80.0',
      '80.0',
      '80.0',
      '2.50',
    ]);
    expect(lines).toContainEqual([
      'made file, no data, 512 MiB',
      '512 MiB',
      '0 MiB',
      '7',
      '1',
      '0.10',
      '0.10',
      '0.10',
      '-',
    ]);
    expect(lines).toContainEqual(['deliver 1 KiB, one frame', '1', '1.25', '1.25', '1.25']);
    expect(lines).toContainEqual(['5', '5', '2400']);
    expect(lines).toContainEqual(['load average 0.1 to 0.9']);
  });
});
