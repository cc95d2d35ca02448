import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive, processEnded, startTimeOf } from '../os/process-identity.js';
import { startVmm } from './vmm-child.js';
import { vmmLog } from './vmm-log.js';

describe('a VMM that was started', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vmm-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });
  const start = (script: string) =>
    startVmm({ binary: '/bin/sh', arguments: ['-c', script], spec: { directory, logDirectory: directory } });

  const startWithHelper = async () => {
    const signal = AbortSignal.timeout(20_000);
    const watcher = watch(directory, { signal });
    const vmm = await start('sleep 1000 & echo $!; wait');
    const said = (): string => readFileSync(vmmLog({ logDirectory: directory }), 'utf8');
    while (!said().endsWith('\n')) await once(watcher, 'change', { signal });
    watcher.close();
    const pid = Number(said());
    const helper = { pid, startTime: startTimeOf(pid)! };
    expect(helper.startTime).toMatch(/^\d+$/);
    return { vmm, helper };
  };

  it('ends with what it started itself', async () => {
    const { vmm, helper } = await startWithHelper();
    expect(await vmm.end()).toMatchObject({ code: null, signal: 'SIGKILL' });
    expect(isAlive(helper)).toBe(false);
  });

  it('takes what it started along when somebody else ends it', async () => {
    const { vmm, helper } = await startWithHelper();
    process.kill(vmm.identity.pid, 'SIGKILL');
    expect(await vmm.exited).toMatchObject({ signal: 'SIGKILL' });
    await processEnded(helper);
    expect(isAlive(helper)).toBe(false);
  });

  it('can be ended when it has ended', async () => {
    const vmm = await start('echo over >&2; exit 3');
    const exit = await vmm.exited;
    expect(exit).toEqual({ code: 3, signal: null, logTail: 'over' });
    expect(await vmm.end()).toBe(exit);
  });

  it('is refused when there is no such program', async () => {
    const spec = { directory, logDirectory: directory };
    await expect(startVmm({ binary: '/no/such', arguments: [], spec })).rejects.toMatchObject({
      kind: 'Unsupported',
      reason: 'PROGRAM_MISSING',
    });
  });
});
