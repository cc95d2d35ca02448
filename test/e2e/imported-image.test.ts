import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OciLayoutOfTest } from '@offshoot/host-agent/images/testing/oci-layout-of-test.js';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianTar, missingForDebian } from '../harness/debian-tar.js';
import { importImage } from '../harness/image-directory.js';
import { ImportLab } from '../harness/import-lab.js';
import type { TestHost } from '../harness/test-host.js';

let lab: ImportLab;
let host: TestHost;
let scratch: string;
beforeAll(async () => {
  lab = await ImportLab.start();
  ({ host, scratch } = lab);
});
afterAll(() => lab[Symbol.asyncDispose]());

/** Everything a workload said until it ended. */
async function wholeLog(instance: string): Promise<string> {
  const lines: string[] = [];
  for await (const line of host.logLines(instance)) {
    lines.push(line);
    if (line.startsWith('offshoot: workload ')) break;
  }
  return lines.join('\n');
}

/** A root file system with nothing but a static busybox: no shell, no library, no /etc. */
function busyboxRoot(name: string): string {
  const root = join(scratch, name);
  mkdirSync(join(root, 'app'), { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'app/busybox'));
  chmodSync(join(root, 'app/busybox'), 0o755);
  return root;
}

describe('an image made of a container image', () => {
  it('runs its own command as its own user, in its directory and environment', async () => {
    const layout = new OciLayoutOfTest(join(scratch, 'layout'));
    await layout.addLayer(busyboxRoot('lower'));
    const upper = join(scratch, 'upper');
    mkdirSync(join(upper, 'etc'), { recursive: true });
    writeFileSync(join(upper, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nworker:x:1234:1235::/home/worker:/bin/sh\n');
    writeFileSync(join(upper, 'etc/group'), 'worker:x:1235:\nvideo:x:44:worker\n');
    await layout.addLayer(upper);
    layout.finish({
      Entrypoint: ['/app/busybox', 'sh', '-c'],
      Cmd: ['/app/busybox id; /app/busybox pwd; echo "mode $MODE home $HOME"'],
      Env: ['MODE=own', 'PATH=/app'],
      User: 'worker',
      WorkingDir: '/home/worker/data',
    });
    await importImage(host, layout.path, 'own-command');
    await host.create({ name: 'own', image: 'own-command' });
    const log = await wholeLog('own');
    expect(log).toContain('uid=1234(worker) gid=1235(worker) groups=44(video)');
    expect(log).toContain('/home/worker/data\nmode own home /home/worker\n');
    expect(log).toContain('exited with code 0');
    await host.delete('own');
  });

  it('runs its own command without a shell', async () => {
    const layout = new OciLayoutOfTest(join(scratch, 'shell-less'));
    await layout.addLayer(busyboxRoot('program'));
    layout.finish({ Entrypoint: ['/app/busybox'], Cmd: ['ls', '/'] });
    await importImage(host, layout.path, 'shell-less');
    await host.create({ name: 'shell-less', image: 'shell-less' });
    // Its own, and what is mounted or put there for it.
    expect((await wholeLog('shell-less')).split('\n').slice(0, -1)).toEqual([
      ...['app', 'dev', 'etc', 'lost+found', 'opt', 'proc', 'run', 'sys', 'tmp'],
    ]);
    await host.delete('shell-less');
  });

  it('says what is missing when it is asked for a program it has not', async () => {
    const started = host.create({
      name: 'no-shell',
      image: 'shell-less',
      workload: { argv: ['sh', '-c', 'true'], env: {}, workingDirectory: '', files: [] },
    });
    await expect(started).rejects.toThrow(/cannot start sh/);
  });
});

describe('an image made of an ext4 disk', () => {
  it('keeps what is on the disk, which is grown for the agent, and runs what it is asked to', async () => {
    const root = busyboxRoot('disk-root');
    mkdirSync(join(root, 'opt'), { mode: 0o711 });
    writeFileSync(join(root, 'opt/kept'), 'kept');
    const disk = join(scratch, 'small.ext4');
    await execa('mkfs.ext4', ['-q', '-F', '-N', '4096', '-d', root, disk, '16M'], {
      env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin` },
    });
    await importImage(host, disk, 'from-disk');
    const argv = [
      '/app/busybox',
      'sh',
      '-c',
      '/app/busybox cat /opt/kept; /app/busybox df -m / | /app/busybox tail -1',
    ];
    await host.create({
      name: 'from-disk',
      image: 'from-disk',
      workload: { argv, env: {}, workingDirectory: '', files: [] },
    });
    const log = await wholeLog('from-disk');
    expect(log).toMatch(/^kept/);
    const free = /\/dev\S+ +\d+ +\d+ +(\d+)/.exec(log)?.[1];
    expect(Number(free)).toBeGreaterThan(100);
    await host.delete('from-disk');
  });
});

const missing = await missingForDebian();
describe.skipIf(missing !== '')(`an image made of a Debian root${missing && ` (skipped: ${missing})`}`, () => {
  it('runs Debian’s own programs as the tar has them, and forks', async ({ skip }) => {
    const tar = await debianTar(scratch);
    skip(tar === undefined, 'skipped: no package archive to make a Debian root from');
    await importImage(host, tar!, 'debian');
    const worker = readFileSync(fileURLToPath(new URL('../guest/fork-worker.cjs', import.meta.url)));
    const shell = [
      'cat /etc/debian_version',
      'stat -c "%n %a %U %G" /usr/bin/passwd /var/mail /tmp /etc/shadow',
      'dpkg --verify && echo verified',
      'exec /opt/offshoot/runtime/bin/node /srv/worker.cjs',
    ].join('; ');
    await host.create({
      name: 'debian',
      image: 'debian',
      workload: {
        argv: ['/bin/bash', '-c', shell],
        env: {},
        workingDirectory: '',
        files: [{ path: '/srv/worker.cjs', mode: 0o644, content: worker }],
      },
    });
    const lines: string[] = [];
    for await (const line of host.logLines('debian')) {
      lines.push(line);
      if (/^count [4-9]/.test(line)) break;
    }
    const said = lines.join('\n');
    expect(said).toMatch(/^12\.\d+/);
    expect(said).toContain('/usr/bin/passwd 4755 root root\n/var/mail 2775 root mail\n');
    expect(said).toContain('/etc/shadow 640 root shadow\nverified\n');
    await host.standby('debian', 'task');
    const { acks } = await host.fork({
      source: 'debian',
      name: 'debian-fork',
      mailboxes: [
        {
          name: 'task',
          payload: { $case: 'json' as const, json: '{"number":7}' },
        },
      ],
    });
    expect(JSON.parse(acks[0]!.detail)).toMatchObject({ task: { number: 7 } });
  });
});
