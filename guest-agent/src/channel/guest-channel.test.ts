import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import {
  NO_SESSION,
  WireDecoder,
  encodeData,
  encodeEnd,
  encodeSync,
  newSessionId,
} from '@offshoot/shared/channel/wire.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GuestChannel } from './guest-channel.js';
import { SocketPairSource } from './socket-pair-source.js';

describe("the guest's end of the channel", () => {
  let source: SocketPairSource;
  let stop: AbortController;
  let sessions: Duplex[];
  let wakes: number;
  let delivered: boolean;
  let running: Promise<void>;
  let heard: string[];
  let look: () => void;

  const until = (done: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      look = () => {
        if (done()) resolve();
      };
      look();
    });

  beforeEach(() => {
    [source, stop, sessions, wakes, delivered, heard] = [
      new SocketPairSource(),
      new AbortController(),
      [],
      0,
      false,
      [],
    ];
    look = () => undefined;
    const decoder = new WireDecoder({
      onSync: (session) => heard.push(session),
      onData: (payload) => heard.push(payload.toString()),
      onEnd: () => heard.push('end'),
      onCorrupt: (error) => heard.push(error.message),
    });
    source.host.on('data', (chunk: Buffer) => {
      decoder.push(chunk);
      look();
    });
    const channel = new GuestChannel(source, {
      onSync: () => undefined,
      onWake: () => {
        wakes += 1;
        look();
        return delivered;
      },
      onSession: (stream) => {
        sessions.push(stream);
        stream.on('error', () => undefined);
        stream.on('data', (chunk: Buffer) => stream.write(`echo ${chunk.toString()}`));
        look();
      },
    });
    running = channel.run(stop.signal);
  });
  afterEach(async () => {
    stop.abort();
    source.host.destroy();
    await running;
  });

  it('announces itself without a session, for a host that was talking to an agent before', async () => {
    await until(() => heard.length > 0);
    expect(heard).toEqual([NO_SESSION]);
  });

  it('answers a sync with its own id and carries the session both ways', async () => {
    const session = newSessionId();
    source.host.write(Buffer.concat([encodeSync(session), ...encodeData(Buffer.from('hi'))]));
    await until(() => heard.includes('echo hi'));
    expect(heard).toEqual([NO_SESSION, session, 'echo hi']);
  });

  it('wakes at any byte at all, before it knows what the byte means', async () => {
    source.host.write('?');
    await until(() => wakes === 1);
    delivered = true;
    source.host.write(encodeSync(newSessionId()));
    await until(() => heard.length === 2);
    expect(wakes).toBe(2);
  });

  it('drops the session before when a new one begins, and serves only the last of many', async () => {
    const [old, skipped, last] = [newSessionId(), newSessionId(), newSessionId()];
    source.host.write(Buffer.concat([encodeSync(old), ...encodeData(Buffer.from('1'))]));
    await until(() => sessions.length === 1);
    source.host.write(
      Buffer.concat([
        Buffer.concat(encodeData(Buffer.from('cut off'))).subarray(0, 7),
        encodeSync(skipped),
        encodeSync(last),
        ...encodeData(Buffer.from('2')),
      ]),
    );
    await until(() => heard.includes('echo 2'));
    expect([sessions.length, sessions[0]!.destroyed]).toEqual([2, true]);
    expect(heard.slice(heard.indexOf(last))).toEqual([last, 'echo 2']);
  });

  it('leaves the session before as it stands until the new one speaks, and sends no more of it', async () => {
    source.host.write(Buffer.concat([encodeSync(newSessionId()), ...encodeData(Buffer.from('1'))]));
    await until(() => heard.includes('echo 1'));
    const next = newSessionId();
    source.host.write(encodeSync(next));
    await until(() => heard.includes(next));
    const [old] = sessions;
    expect(old!.destroyed).toBe(false);
    old!.write('too late');
    source.host.write(Buffer.concat(encodeData(Buffer.from('2'))));
    await until(() => heard.includes('echo 2'));
    expect(old!.destroyed).toBe(true);
    expect(heard).not.toContain('too late');
  });

  it('ends a session with the host, and loses one that is nonsense', async () => {
    source.host.write(Buffer.concat([encodeSync(newSessionId()), ...encodeData(Buffer.from('1')), encodeEnd()]));
    await until(() => heard.includes('end'));
    source.host.write(Buffer.concat([encodeSync(newSessionId()), ...encodeData(Buffer.from('2'))]));
    await until(() => heard.includes('echo 2'));
    const closed = once(sessions[1]!, 'close');
    source.host.write(Buffer.from([0x7f]));
    await closed;
    source.host.write(Buffer.concat([encodeSync(newSessionId()), ...encodeData(Buffer.from('3'))]));
    await until(() => heard.includes('echo 3'));
  });
});
