import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OciLayoutOfTest } from '@offshoot/host-agent/images/testing/oci-layout-of-test.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CACHE } from '../harness/cache.js';
import { ImageDirectory, importImage } from '../harness/image-directory.js';
import { TestHost } from '../harness/test-host.js';

let images: ImageDirectory;
let host: TestHost;
let scratch: string;
beforeAll(async () => {
  images = await ImageDirectory.create();
  host = await TestHost.start({ settings: { images_dir: images.path } });
  scratch = mkdtempSync(join(CACHE, 'source-'));
});
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host[Symbol.asyncDispose]();
  await images[Symbol.asyncDispose]();
});

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
  });
});
