import { createHash } from 'node:crypto';
import { MailboxArmedBy as By, MailboxState, type Mailbox } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost } from '../harness/test-host.js';

const SEGMENT_BYTES = 3840;
const fingerprint = (token: string): string => createHash('sha256').update(token).digest('hex').slice(0, 16);

/** A mailbox of the test's guest program, as it is listed. */
const listed = (name: string, change: Partial<Mailbox>): Mailbox => ({
  name,
  tokenFingerprint: fingerprint(`${name}-token`),
  state: MailboxState.MAILBOX_STATE_ARMED,
  capacityBytes: (change.segments ?? 1) * SEGMENT_BYTES,
  generation: 0,
  registered: false,
  segments: 1,
  segmentsFound: change.segments ?? 1,
  armedBy: By.MAILBOX_ARMED_BY_PROGRAM,
  token: undefined,
  ...change,
});
const HELD = listed('held', { registered: true, armedBy: By.MAILBOX_ARMED_BY_AGENT });
const OWN = listed('own', { segments: 2 });
const TORN = listed('torn', { segments: 3, segmentsFound: 2 });

describe("the mailboxes in a snapshot's memory", () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    await host.boot('source', 'own-pages.cjs', { memoryBytes: 256n * 2n ** 20n });
    await host.logLine('source', (line) => line === 'armed');
    await snapshots.create({ instance: 'source', name: 'moment' });
    await host.stop('source');
    await snapshots.create({ instance: 'source', name: 'disk' });
  });
  afterAll(async () => {
    await snapshots.deleteAll();
    await host[Symbol.asyncDispose]();
  });

  const ofPrograms = async (includeTokens = false): Promise<readonly Mailbox[]> =>
    (await snapshots.mailboxes('moment', includeTokens)).filter(({ name }) => !name.startsWith('offshoot.'));
  const scans = (): number => host.daemon.log.split('"searched memory for mailboxes"').length - 1;

  it('are listed by name, with what they can take and who armed them, and without their tokens', async () => {
    expect(await ofPrograms()).toEqual([HELD, OWN, TORN]);
  });

  it('are listed with their tokens where these are asked for', async () => {
    expect((await ofPrograms(true)).map(({ token }) => token)).toEqual(['held-token', 'own-token', 'torn-token']);
    const reserved = (await snapshots.mailboxes('moment', true)).find(({ name }) => name === 'offshoot.network');
    expect(fingerprint(reserved!.token!)).toBe(reserved!.tokenFingerprint);
  });

  it('are searched for once, also when another daemon is asked', async () => {
    expect(scans()).toBe(1);
    await host.stopDaemon();
    await host.startDaemon();
    expect(await ofPrograms()).toEqual([HELD, OWN, TORN]);
    expect(scans()).toBe(0);
  });

  it('are none without memory', async () => {
    expect(await snapshots.mailboxes('disk')).toEqual([]);
  });

  it('are not to be had of a snapshot that is not there', async () => {
    expect(await failureOf(snapshots.mailboxes('nothing'))).toMatchObject({
      status: 'NOT_FOUND',
      details: { reason: 'SNAPSHOT_NOT_FOUND' },
    });
  });

  it('cannot be filled where a segment is missing, and nothing is left of the fork', async () => {
    const traces = await host.traces();
    const json = { $case: 'json' as const, json: '{}' };
    const mailboxes = [
      { name: 'own', payload: json },
      { name: 'torn', payload: json },
    ];
    expect(await failureOf(snapshots.fork({ snapshot: 'moment', mailboxes }))).toMatchObject({
      status: 'FAILED_PRECONDITION',
      details: { reason: 'MAILBOX_INCOMPLETE', metadata: { mailbox: 'torn', missing_segments: '1' } },
    });
    expect(await host.traces()).toEqual(traces);
  });
});
