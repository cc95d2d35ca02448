import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { followFile } from './follow-file.js';

describe('following a log', () => {
  let directory: string;
  let logs: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-follow-'));
    logs = join(directory, 'logs');
    path = join(logs, 'workload.log');
    mkdirSync(logs);
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  const next = async (stream: AsyncGenerator<Buffer>): Promise<string | undefined> => {
    const result = await stream.next();
    return result.done === true ? undefined : result.value.toString();
  };

  it('gives what is there and ends, when it is not to be followed', async () => {
    writeFileSync(path, 'one\n');
    const stream = followFile(path, false, new AbortController().signal);
    expect(await next(stream)).toBe('one\n');
    expect(await next(stream)).toBeUndefined();
  });

  it('waits for the directory it is to be in, too', async () => {
    rmSync(directory, { recursive: true });
    mkdirSync(directory);
    const deep = join(directory, 'instance', 'logs', 'workload.log');
    const stream = followFile(deep, true, new AbortController().signal);
    const first = next(stream);
    mkdirSync(join(directory, 'instance'));
    mkdirSync(join(directory, 'instance', 'logs'));
    writeFileSync(deep, 'one\n');
    expect(await first).toBe('one\n');
    await stream.return(undefined);
  });

  it('ends when it is cancelled before there is a directory', async () => {
    const caller = new AbortController();
    const stream = followFile(join(directory, 'never', 'workload.log'), true, caller.signal);
    const first = next(stream);
    caller.abort();
    expect(await first).toBeUndefined();
  });

  it('gives what is added, also to a file that was not there at first, until it is cancelled', async () => {
    const caller = new AbortController();
    const stream = followFile(path, true, caller.signal);
    const first = next(stream);
    writeFileSync(path, 'one\n');
    expect(await first).toBe('one\n');
    const second = next(stream);
    appendFileSync(path, 'two\n');
    expect(await second).toBe('two\n');
    const third = next(stream);
    caller.abort();
    expect(await third).toBeUndefined();
  });

  it('goes on in the new file after a rotation, and loses nothing of the old one', async () => {
    const caller = new AbortController();
    writeFileSync(path, 'one\n');
    const stream = followFile(path, true, caller.signal);
    expect(await next(stream)).toBe('one\n');
    appendFileSync(path, 'two\n');
    renameSync(path, `${path}.1`);
    writeFileSync(path, 'three\n');
    expect(await next(stream)).toBe('two\n');
    expect(await next(stream)).toBe('three\n');
    caller.abort();
    expect(await next(stream)).toBeUndefined();
  });

  it('ends when the instance is deleted', async () => {
    writeFileSync(path, 'one\n');
    const stream = followFile(path, true, new AbortController().signal);
    expect(await next(stream)).toBe('one\n');
    const end = next(stream);
    rmSync(logs, { recursive: true });
    expect(await end).toBeUndefined();
  });
});
