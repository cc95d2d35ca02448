import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FRAME_LAYOUT, FRAME_SIZE, FRAME_STATE } from '@offshoot/shared/mailbox/frame-layout.js';
import {
  bytesOfRanges,
  readGoldenVectors,
  type GoldenMailbox,
  type GoldenRange,
  type GoldenRoute,
} from '@offshoot/shared/mailbox/golden-vectors.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LIBRARIES, isTestable } from './library.js';
import { LibraryProgram, hexed } from './library-program.js';

const vectors = readGoldenVectors();
const pageOf = (ranges: readonly GoldenRange[]): Buffer => bytesOfRanges(FRAME_SIZE, ranges);
const pagesOf = (segments: GoldenMailbox['segments']): string =>
  segments.map((ranges) => hexed(pageOf(ranges))).join('');
const routeOf = ({ transport, port, address, nonce }: GoldenRoute): string =>
  `${transport} ${port} ${address} ${nonce}`;

/** A frame with what only the host writes taken out again, in the state it was armed in. */
function asArmed(page: Buffer): Buffer {
  const armed = Buffer.from(page).fill(0, FRAME_LAYOUT.generation.offset);
  armed.writeUInt32LE(FRAME_STATE.armed, FRAME_LAYOUT.state.offset);
  return armed;
}

for (const { name, tool } of LIBRARIES.filter((library) => !isTestable(library)))
  it.skip(`${name} and the golden vectors (skipped: ${String(tool)})`);

describe.each(LIBRARIES.filter(isTestable))('$name and the golden vectors', (library) => {
  let folder: string;
  let program: LibraryProgram;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-sdk-'));
    program = LibraryProgram.start(await library.build(folder), join(folder, 'agent.sock'));
  }, 60_000);
  afterAll(async () => {
    await program[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it.each(vectors.frames.filter(({ header }) => header.segmentCount === 1))(
    `$title is armed byte for byte`,
    async ({ ranges, header: { name, token, nonce } }) => {
      expect(await program.ask('frames', hexed(name), hexed(token), nonce, 1)).toBe(hexed(asArmed(pageOf(ranges))));
    },
  );

  it.each(vectors.frames)('$title is read field by field', async ({ ranges, header: h, delivery: d }) => {
    const page = hexed(pageOf(ranges));
    expect(await program.ask('header', page)).toBe(
      `${hexed(h.name)} ${hexed(h.token)} ${h.segmentIndex} ${h.segmentCount} ${h.nonce} ${h.state} ${h.generation}`,
    );
    expect(await program.ask('segment', page)).toBe(
      d === undefined
        ? '! MAILBOX_FRAME_CORRUPT generation'
        : `${d.generation} ${d.contentType} ${d.payload || '-'} ${d.totalLength} ${routeOf(d.ack)}`,
    );
  });

  it.each(vectors.rejectedFrames)(
    `$title is refused by the $reader reader: $problem`,
    async ({ reader, problem, ranges }) => {
      const request = reader === 'header' ? 'header' : 'segment';
      expect(await program.ask(request, hexed(pageOf(ranges)))).toBe(`! MAILBOX_FRAME_CORRUPT ${problem}`);
    },
  );

  it.each(vectors.mailboxes)('$title are armed byte for byte', async ({ armed, segments }) => {
    const { name, token, nonce, segmentCount } = armed;
    const expected = segments.map((ranges) => hexed(asArmed(pageOf(ranges)))).join('');
    const written = await program.ask('frames', hexed(name), hexed(token), nonce, segmentCount);
    expect(written === expected).toBe(true); // half a megabyte of digits is no message
  });

  it.each(vectors.mailboxes)('$title are one delivery', async ({ armed, segments, delivery: d }) => {
    const payload = hexed(bytesOfRanges(d.payload.length, d.payload.ranges));
    const answer = await program.ask('mailbox', hexed(armed.name), armed.nonce, pagesOf(segments));
    expect(answer === `${d.generation} ${d.contentType} ${payload} ${routeOf(d.ack)}`).toBe(true);
  });

  it.each(vectors.incompleteMailboxes)('$title are waited on with', async ({ armed, segments }) => {
    expect(await program.ask('mailbox', hexed(armed.name), armed.nonce, pagesOf(segments))).toBe('incomplete');
  });

  it.each(vectors.rejectedMailboxes)('$title are refused: $problem', async ({ armed, segments, problem }) => {
    expect(await program.ask('mailbox', hexed(armed.name), armed.nonce, pagesOf(segments))).toBe(
      `! MAILBOX_FRAME_CORRUPT ${problem}`,
    );
  });

  it.each(vectors.acks.filter(({ canonical }) => canonical))('$line is written', async ({ line, ack }) => {
    const { mailbox, generation, nonce, stage, detail } = ack;
    expect(await program.ask('ack-line', hexed(mailbox), generation, nonce, stage, hexed(detail))).toBe(line);
  });

  it('a detail that is too long is cut at a character', async () => {
    const line = await program.ask(
      'ack-line',
      hexed('task'),
      1,
      '00000000000000ff',
      'applied',
      hexed('ü'.repeat(1000)),
    );
    expect(line).toMatch(/ detail=(%C3%BC)+$/);
    expect(line.length).toBeGreaterThan(1200 - '%C3%BC'.length);
    expect(line.length).toBeLessThanOrEqual(1200);
  });

  it.each([
    ['a byte that begins nothing', 'ff', 1],
    ['a character cut short', 'c3', 1],
    ['a character of too many bytes', 'e08080', 3],
    ['a surrogate', 'eda080', 3],
    ['a number beyond the last character', 'f4908080', 4],
  ])('a detail with %s is made UTF-8', async (_, hex, replaced) => {
    const line = await program.ask('ack-line', hexed('task'), 1, '00000000000000ff', 'failed', `${hex}41`);
    expect(line.split(' ').at(-1)).toBe(`detail=${'%EF%BF%BD'.repeat(replaced)}A`);
  });

  it.each(vectors.ackOks)('$line is heard', async ({ line, nonce }) => {
    expect(await program.ask('ack-ok', hexed(line))).toBe(nonce);
  });

  it.each(vectors.rejectedAckOks.map((line) => ({ line })))('"$line" is no answer', async ({ line }) => {
    expect(await program.ask('ack-ok', hexed(line))).toBe('none');
  });
});
