import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VirtioSerialSource } from './virtio-serial.js';

describe('the virtio-serial port', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'offshoot-port-'));
    await mkdir(join(root, 'dev'));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  const write = async (): Promise<void> => {
    const port = await new VirtioSerialSource(root).open();
    await port.write(Buffer.from('x'));
    await port.close();
  };

  it("is opened by udev's name", async () => {
    await mkdir(join(root, 'dev/virtio-ports'));
    await writeFile(join(root, 'dev/virtio-ports/offshoot.0'), '');
    await write();
    expect(await readFile(join(root, 'dev/virtio-ports/offshoot.0'), 'utf8')).toBe('x');
  });

  it("is found by the kernel's own list where there is no udev", async () => {
    for (const [port, name] of Object.entries({ vport1p1: 'other', vport1p2: 'offshoot.0' })) {
      await mkdir(join(root, 'sys/class/virtio-ports', port), { recursive: true });
      await writeFile(join(root, 'sys/class/virtio-ports', port, 'name'), `${name}\n`);
      await writeFile(join(root, 'dev', port), '');
    }
    await write();
    expect(await readFile(join(root, 'dev/vport1p2'), 'utf8')).toBe('x');
  });

  it('is missed by name', async () => {
    await expect(new VirtioSerialSource(root).open()).rejects.toMatchObject({ reason: 'CHANNEL_MISSING' });
  });
});
