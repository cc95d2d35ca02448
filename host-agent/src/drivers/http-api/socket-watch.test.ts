import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SocketWatch } from './socket-watch.js';

describe('a socket that a program makes itself', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'watch-'));
    path = join(directory, 'api.sock');
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('is waited for until it takes connections', async () => {
    using watch = new SocketWatch(path);
    const accepted = watch.accepts(AbortSignal.timeout(20_000));
    await writeFile(join(directory, 'another.file'), '');
    const server = createServer((connection) => connection.resume());
    server.listen(path);
    await accepted;
    server.close();
    await once(server, 'close');
  });

  it('is there already when the program was faster', async () => {
    using watch = new SocketWatch(path);
    const child = spawn(process.execPath, ['-e', 'require("net").createServer().listen(process.argv[1])', path]);
    try {
      await watch.accepts(AbortSignal.timeout(20_000));
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('is waited for in vain until the wait is cancelled', async () => {
    using watch = new SocketWatch(path);
    await expect(watch.accepts(AbortSignal.abort(new Error('early')))).rejects.toThrow('early');
    const cancel = new AbortController();
    const accepted = watch.accepts(cancel.signal);
    cancel.abort(new Error('no longer wanted'));
    await expect(accepted).rejects.toThrow('no longer wanted');
  });
});
