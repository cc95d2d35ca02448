import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const demo = fileURLToPath(new URL('../../host-agent/dist/demo/main.js', import.meta.url));
const worker = fileURLToPath(new URL('../../host-agent/demo/worker.cjs', import.meta.url));

describe('make demo', () => {
  let temporary: string;
  beforeAll(() => {
    temporary = mkdtempSync(join(tmpdir(), 'offshoot-demo-test-'));
  });
  afterAll(() => {
    rmSync(temporary, { recursive: true });
  });
  const run = (...flags: string[]) =>
    spawnSync(process.execPath, [demo, ...flags], { encoding: 'utf8', env: { ...process.env, TMPDIR: temporary } });

  it('forks a VM four times, shows each answer with its times, finds them right and leaves nothing', () => {
    const { status, stdout, stderr } = run();
    expect(`${stdout}${stderr}`).toMatch(/FORK +ADDRESS +PAYLOAD +ANSWER.*CLONE +SPAWN +LOAD +PATCH +RESUME +ACK/);
    const rows = stdout.split('\n').filter((line) => /^fork-[1-4] .* right /.test(line));
    expect(rows).toHaveLength(4);
    expect(rows[3]).toContain('1229 primes below 10000');
    for (const row of rows) expect(row.match(/\d+(\.\d+)? m?s/g)).toHaveLength(6);
    expect(stdout).toContain('Next: ');
    expect(status).toBe(0);
    expect(readdirSync(temporary)).toEqual([]);
  });

  it('fails when an answer is wrong', () => {
    const wrong = join(temporary, 'worker.cjs');
    writeFileSync(wrong, readFileSync(worker, 'utf8').replace('count++', 'count += 2'));
    const { status, stdout } = run('--worker', wrong);
    expect(stdout.match(/WRONG/g)).toHaveLength(4);
    expect(status).toBe(1);
    rmSync(wrong);
    expect(readdirSync(temporary)).toEqual([]);
  });
});
