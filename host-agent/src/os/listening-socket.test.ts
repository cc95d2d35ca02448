import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { openListeningSocket } from './listening-socket.js';

describe('a listening socket for a child', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'socket-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('takes connections before the child has started, and stays at its path', async () => {
    const path = join(directory, 'a, b.sock');
    await writeFile(path, 'stale');
    const fd = openListeningSocket(path);
    const client = connect(path);
    await once(client, 'connect');
    const script = `require('net').createServer((s) => s.end('hello', () => process.exit())).listen({ fd: 3 })`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'inherit', 'inherit', fd] });
    closeSync(fd);
    expect(String((await once(client, 'data'))[0])).toBe('hello');
    if (child.exitCode === null) await once(child, 'exit');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('refuses a path that the kernel would cut off', () => {
    expect(() => openListeningSocket(join(directory, 'x'.repeat(108)))).toThrow(InvalidInput);
  });
});
