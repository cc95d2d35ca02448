import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { SessionStream, type RawChannel } from './session-stream.js';
import { WireDecoder, encodeSync, newSessionId } from './wire.js';

class Recorder implements RawChannel {
  readonly written: Buffer[] = [];
  paused = false;
  write(buffers: readonly Buffer[], done: (error?: Error | null) => void): void {
    this.written.push(...buffers);
    done();
  }
  pauseReading(): void {
    this.paused = true;
  }
  resumeReading(): void {
    this.paused = false;
  }
}

describe('a session stream', () => {
  it('puts what is written into records and an end', async () => {
    const raw = new Recorder();
    const stream = new SessionStream(raw);
    stream.write('hello ');
    stream.end('world');
    await once(stream, 'finish');
    const heard: string[] = [];
    const decoder = new WireDecoder({
      onSync: () => undefined,
      onData: (bytes) => heard.push(bytes.toString()),
      onEnd: () => heard.push('end'),
      onCorrupt: (error) => heard.push(error.message),
    });
    decoder.push(Buffer.concat([encodeSync(newSessionId()), ...raw.written]));
    expect(heard).toEqual(['hello ', 'world', 'end']);
  });

  it('stops the channel while its reader is full and lets it run when read or destroyed', () => {
    const raw = new Recorder();
    const stream = new SessionStream(raw);
    stream.receive(Buffer.alloc(1 << 20));
    expect(raw.paused).toBe(true);
    stream.read();
    expect(raw.paused).toBe(false);
    stream.receive(Buffer.alloc(1 << 20));
    expect(raw.paused).toBe(true);
    stream.destroy();
    expect(raw.paused).toBe(false);
  });

  it('ends when its peer does and takes nothing after that', async () => {
    const stream = new SessionStream(new Recorder());
    stream.receive(Buffer.from('last'));
    stream.receiveEnd();
    stream.receive(Buffer.from('late'));
    stream.receiveEnd();
    const chunks: string[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
    await once(stream, 'end');
    expect(chunks).toEqual(['last']);
  });
});
