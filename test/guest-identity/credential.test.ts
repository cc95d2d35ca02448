import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { CREDENTIAL_LENGTH, CREDENTIAL_PATTERN } from '@offshoot/shared/credential.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureIfAny } from '../harness/call-failure.js';
import { PAGE, guestMemory } from '../harness/guest-memory.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost } from '../harness/test-host.js';

/** Everything that guests of one host are given and say. */
class Credentials {
  /** All that were ever said, in the order they were found. */
  readonly said: string[] = [];

  constructor(private readonly host: TestHost) {}

  /** The next one that an instance's workload says; the one it has is good by then. */
  async nextOf(instance: string): Promise<string> {
    const line = await this.host.logLine(instance, (each) => this.fresh(each) !== undefined);
    const credential = this.fresh(line)!;
    this.said.push(credential);
    return credential;
  }

  /** Name of the instance that a credential belongs to; the reason where it belongs to none. */
  async ownerOf(credential: string): Promise<string> {
    const { instances } = this.host;
    let owner = '';
    const failure = await failureIfAny(
      this.host.client.unary(instances.reviewCredential.bind(instances), { credential }).then(({ instance }) => {
        owner = instance!.name;
      }),
    );
    return failure === undefined ? owner : `${failure.status} ${failure.details.reason}`;
  }

  private fresh(line: string): string | undefined {
    const credential = /^credential (.*)$/.exec(line)?.[1];
    return credential === undefined || this.said.includes(credential) ? undefined : credential;
  }
}

const VOID = 'NOT_FOUND CREDENTIAL_UNKNOWN';

describe('the credential of an instance', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  let credentials: Credentials;
  /** What `source` has. */
  let current: string;
  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    credentials = new Credentials(host);
    await host.boot('source', 'credential-watcher.cjs');
    current = await credentials.nextOf('source');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  /** The one before is void, and there is another. */
  const expectRenewed = async (): Promise<void> => {
    const before = current;
    current = await credentials.nextOf('source');
    expect(await Promise.all([before, current].map((each) => credentials.ownerOf(each)))).toEqual([VOID, 'source']);
  };

  it('is there before its workload, and tells which instance it is', async () => {
    expect(current).toMatch(CREDENTIAL_PATTERN);
    expect(await credentials.ownerOf(current)).toBe('source');
  });

  it.each([
    ['of nobody', 'x'.repeat(43), VOID],
    ['too short', 'x'.repeat(42), 'INVALID_ARGUMENT'],
    ['no base64url', '='.repeat(43), 'INVALID_ARGUMENT'],
    ['none', '', 'INVALID_ARGUMENT'],
  ])('is refused where it is %s', async (_, credential, refusal) => {
    expect(await credentials.ownerOf(credential)).toMatch(new RegExp(`^${refusal}`));
  });

  it('is another for the source after a snapshot, and each fork of that has its own', async () => {
    await snapshots.create({ instance: 'source', name: 'moment' });
    await expectRenewed();
    const names = ['one', 'two', 'three'];
    await Promise.all(names.map((name) => snapshots.fork({ snapshot: 'moment', name })));
    const own: string[] = [];
    for (const name of names) own.push(await credentials.nextOf(name));
    expect(new Set(credentials.said).size).toBe(credentials.said.length);
    expect(await Promise.all(own.map((each) => credentials.ownerOf(each)))).toEqual(names);
    for (const name of names) await host.delete(name);
    expect(await Promise.all(own.map((each) => credentials.ownerOf(each)))).toEqual(names.map(() => VOID));
    expect(await credentials.ownerOf(current)).toBe('source');
  });

  it('is another after a fork of the running source, and the fork has its own', async () => {
    await host.fork({ source: 'source', name: 'child', fromRunning: true });
    await expectRenewed();
    expect(await credentials.ownerOf(await credentials.nextOf('child'))).toBe('child');
    await host.delete('child');
  });

  it('is void while the instance is paused or parked, and another when it goes on', async () => {
    await host.pause('source');
    expect(await credentials.ownerOf(current)).toBe(VOID);
    await host.resume('source');
    await expectRenewed();
    await host.standby('source');
    expect(await credentials.ownerOf(current)).toBe(VOID);
    await host.restore('source');
    await expectRenewed();
  });

  it('is its own for a fork that was made parked, when that is restored', async () => {
    const targetState = InstanceState.INSTANCE_STATE_STANDBY;
    await snapshots.fork({ snapshot: 'moment', name: 'parked', targetState });
    await host.restore('parked');
    expect(await credentials.ownerOf(await credentials.nextOf('parked'))).toBe('parked');
    await host.delete('parked');
  });

  it('is another when the instance is set back to a snapshot', async () => {
    await snapshots.restore('moment');
    await expectRenewed();
  });

  it('is another with the next daemon, which nobody has told of those before it', async () => {
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    await expectRenewed();
  });

  it('is void when the instance stops, and another when it starts', async () => {
    await host.stop('source');
    expect(await credentials.ownerOf(current)).toBe(VOID);
    await host.startInstance('source');
    await expectRenewed();
  });
});

describe('the credential of a fork that nobody has read', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  let fork: Instance;
  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    await host.boot('source', 'counter.cjs');
    await snapshots.create({ instance: 'source', name: 'moment' });
    fork = (await snapshots.fork({ snapshot: 'moment', name: 'fork' })).instance!;
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it('stands in its file alone, and is in no file of a snapshot of the fork', async () => {
    const inFile = await pagesThatAreACredential(fork.vmmPid);
    expect(inFile).toHaveLength(1);
    const [credential] = inFile as [string];
    expect(await new Credentials(host).ownerOf(credential)).toBe('fork');
    expect(await timesInMemory(fork.vmmPid, credential)).toBe(1);

    const { snapshot } = await snapshots.create({ instance: 'fork', name: 'later' });
    const folder = join(host.machine.stateDirectory, 'snapshots', snapshot!.id);
    expect(await timesInFile(join(folder, 'memory'), 'OFFSHOOT-MBOX-1')).toBeGreaterThan(0);
    for (const file of ['memory', 'device-state'])
      expect(await timesInFile(join(folder, file), credential), file).toBe(0);
    expect(await new Credentials(host).ownerOf(credential)).toBe(VOID);
  });
});

/** What stands at the beginning of a page that is zero besides: a file of that length, on a tmpfs. */
async function pagesThatAreACredential(vmmPid: number): Promise<string[]> {
  const found: string[] = [];
  const rest = Buffer.alloc(PAGE - CREDENTIAL_LENGTH);
  for await (const { bytes } of guestMemory(vmmPid))
    for (let page = 0; page < bytes.length; page += PAGE) {
      if (bytes[page] === 0 || bytes[page + CREDENTIAL_LENGTH] !== 0) continue;
      const text = bytes.toString('latin1', page, page + CREDENTIAL_LENGTH);
      if (CREDENTIAL_PATTERN.test(text) && rest.equals(bytes.subarray(page + CREDENTIAL_LENGTH, page + PAGE)))
        found.push(text);
    }
  return found;
}

async function timesInMemory(vmmPid: number, text: string): Promise<number> {
  let times = 0;
  for await (const { bytes } of guestMemory(vmmPid)) times += timesIn(bytes, text);
  return times;
}

async function timesInFile(path: string, text: string): Promise<number> {
  let [times, tail] = [0, Buffer.alloc(0)];
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
    const bytes = Buffer.concat([tail, chunk]);
    times += timesIn(bytes, text);
    tail = bytes.subarray(bytes.length - text.length + 1);
  }
  return times;
}

function timesIn(bytes: Buffer, text: string): number {
  let times = 0;
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1)) times += 1;
  return times;
}
