import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LocalCalls } from '../local/local-calls.js';
import { LocalServer } from '../local/local-server.js';
import { UdpAcks } from '../mailbox/udp-acks.js';
import { AttachedMailboxes } from '../mailbox/attached-mailboxes.js';
import { ChannelAcks } from '../mailbox/channel-acks.js';
import { DeliveryAcks } from '../mailbox/delivery-acks.js';
import { FramesOfTest } from '../mailbox/frames-of-test.js';
import { MailboxRoom } from '../mailbox/mailbox-room.js';
import { UserMailboxes } from '../mailbox/user-mailboxes.js';

interface RunOptions {
  readonly socket: string;
  /** Of what is printed. */
  readonly encoding: 'utf8' | 'latin1';
  /** Whether anybody takes what is printed. */
  readonly reads: boolean;
}

async function all(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

describe('the command offshoot-guest', () => {
  let directory: string;
  let frames: FramesOfTest;
  let sender: UdpAcks;
  let server: LocalServer;
  let mailboxes: UserMailboxes;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'offshoot-command-'));
    await build({
      entryPoints: [join(import.meta.dirname, 'main.ts')],
      outfile: join(directory, 'offshoot-guest.cjs'),
      bundle: true,
      platform: 'node',
      alias: { '@offshoot/shared': join(import.meta.dirname, '../../../shared/src') },
      logLevel: 'error',
    });
    frames = new FramesOfTest();
    const room = new MailboxRoom();
    mailboxes = new UserMailboxes(room, () => undefined);
    sender = await UdpAcks.open();
    const identity = { machineId: 'ab'.repeat(16), mac: '02:00:00:00:00:0a', ipv4: '10.1.2.3', gateway: '10.1.2.1' };
    const describe = () => ({ hostname: "fork'1", ...identity, generation: 3 });
    const channelAcks = new ChannelAcks();
    const calls = new LocalCalls({
      mailboxes,
      attached: new AttachedMailboxes(room, () => undefined),
      acks: new DeliveryAcks({
        udp: sender,
        vsock: { send: () => Promise.reject(new Error('not this way')) },
        channel: channelAcks,
      }),
      channelAcks,
      describe,
      look: () => {
        mailboxes.look();
        mailboxes.release();
      },
    });
    server = await LocalServer.listen(join(directory, 'guest.sock'), calls);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await sender[Symbol.asyncDispose]();
    frames[Symbol.dispose]();
    await rm(directory, { recursive: true, force: true });
  });

  async function run(
    line: string,
    { socket = 'guest.sock', encoding = 'utf8', reads = true }: Partial<RunOptions> = {},
  ): Promise<{ code: unknown; stdout: string; stderr: string }> {
    const child = spawn(process.execPath, [join(directory, 'offshoot-guest.cjs'), ...line.split(' ')], {
      env: { ...process.env, OFFSHOOT_GUEST_SOCKET: join(directory, socket) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (!reads) child.stdout.destroy();
    child.stdout.setEncoding(encoding);
    const [, stdout, stderr] = await Promise.all([
      once(child, 'close'),
      reads ? all(child.stdout) : '',
      all(child.stderr),
    ]);
    return { code: child.exitCode, stdout, stderr };
  }

  it('arms, waits, acknowledges and disposes, each with code 0', async () => {
    expect(await run('mailbox arm task --token tk')).toEqual({ code: 0, stdout: 'tk\n', stderr: '' });
    frames.deliver('task', Buffer.from('{"n":1}'));
    expect(await run('mailbox wait task --timeout 5')).toEqual({ code: 0, stdout: '{"n":1}', stderr: '' });
    expect(await run('mailbox ack task --detail ok')).toMatchObject({ code: 0, stdout: '' });
    expect(await run('mailbox dispose task')).toMatchObject({ code: 0, stdout: '' });
  });

  it('prints a payload of many frames byte for byte', async () => {
    await run('mailbox arm large --capacity 245760');
    const payload = randomBytes(245_760);
    frames.deliver('large', payload, { transport: 'none' }, 'bytes');
    expect((await run('mailbox wait large --timeout 5', { encoding: 'latin1' })).stdout).toBe(
      payload.toString('latin1'),
    );
    await run('mailbox arm large');
    const text = 'é'.repeat(122_880);
    frames.deliver('large', Buffer.from(text));
    expect((await run('mailbox wait large --timeout 5')).stdout === text).toBe(true);
    expect(await run('mailbox arm large --capacity 245761')).toMatchObject({ code: 2 });
  });

  it('says so when nobody reads the payload any more', async () => {
    await run('mailbox arm unread --capacity 245760');
    frames.deliver('unread', randomBytes(245_760), { transport: 'none' }, 'bytes');
    expect(await run('mailbox wait unread --timeout 5', { reads: false })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('EPIPE') as string,
    });
  });

  it('prints who the machine is: as lines for a shell, as JSON, or only its generation', async () => {
    const lines = `HOSTNAME=fork_1\nMACHINE_ID=${'ab'.repeat(16)}\nMAC=02:00:00:00:00:0a\nIPV4=10.1.2.3\nGATEWAY=10.1.2.1\nGENERATION=3\n`;
    expect(await run('identity')).toEqual({ code: 0, stdout: lines, stderr: '' });
    expect(JSON.parse((await run('identity --json')).stdout)).toMatchObject({ hostname: "fork'1", generation: 3 });
    expect(await run('generation')).toEqual({ code: 0, stdout: '3\n', stderr: '' });
  });

  it('ends with 2 when used wrongly, 3 when nothing came, 4 without an agent, 5 when nothing is armed', async () => {
    mailboxes.arm('quiet');
    const results = await Promise.all([
      run('mailbox arm'),
      run('mailbox arm offshoot.network'),
      run('mailbox wait quiet --timeout 0'),
      run('mailbox wait quiet', { socket: 'no.sock' }),
      run('mailbox wait nobody'),
    ]);
    expect(results.map(({ code }) => code)).toEqual([2, 2, 3, 4, 5]);
    expect(results.every(({ stderr }) => stderr !== '')).toBe(true);
  });
});
