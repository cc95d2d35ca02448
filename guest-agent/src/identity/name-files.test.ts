import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NameFiles, hostsWith } from './name-files.js';

describe('/etc/hosts', () => {
  it.each([
    ['gets the own name', '127.0.0.1 localhost\n', 'a', '127.0.0.1 localhost\n127.0.1.1 b\n'],
    ['loses the old one', '127.0.0.1 localhost\n127.0.1.1 a\n', 'a', '127.0.0.1 localhost\n127.0.1.1 b\n'],
    ['loses it beside other names, too', '10.0.0.5 a web\n10.0.0.5 a\n', 'a', '10.0.0.5 web\n127.0.1.1 b\n'],
    [
      'keeps localhost whatever the host was called',
      '127.0.0.1 localhost\n',
      'localhost',
      '127.0.0.1 localhost\n127.0.1.1 b\n',
    ],
    ['keeps comments and names like it', '# a\n10.0.0.5 ab # a\n', 'a', '# a\n10.0.0.5 ab # a\n127.0.1.1 b\n'],
    ['may be empty', '', 'a', '127.0.1.1 b\n'],
    ['may lack its last line end', '10.0.0.5 x', 'a', '10.0.0.5 x\n127.0.1.1 b\n'],
  ])('%s', (_, text, old, expected) => {
    expect(hostsWith(text, old, 'b')).toBe(expected);
    expect(hostsWith(expected, 'b', 'b')).toBe(expected);
  });
});

describe('the names of a machine', () => {
  let root: string;
  let kernel: string;
  let names: NameFiles;
  const file = (name: string): Promise<string> => readFile(join(root, name), 'utf8');
  const ID = 'ab'.repeat(16);

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'offshoot-names-'));
    await mkdir(join(root, 'etc'));
    await mkdir(join(root, 'var/lib/dbus'), { recursive: true });
    kernel = 'source';
    names = new NameFiles(
      root,
      (name) => (kernel = name),
      () => kernel,
    );
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('are set in the kernel and in the files', async () => {
    await writeFile(join(root, 'etc/hosts'), '127.0.1.1 source\n');
    names.setHostname('fork');
    expect([kernel, await file('etc/hostname'), await file('etc/hosts')]).toEqual([
      'fork',
      'fork\n',
      '127.0.1.1 fork\n',
    ]);
  });

  it("take D-Bus's copy of the machine id along, where there is one", async () => {
    names.setMachineId(ID);
    await expect(file('var/lib/dbus/machine-id')).rejects.toThrow('ENOENT');
    await writeFile(join(root, 'var/lib/dbus/machine-id'), 'old\n');
    names.setMachineId(ID);
    expect([await file('etc/machine-id'), await file('var/lib/dbus/machine-id')]).toEqual([`${ID}\n`, `${ID}\n`]);
    await rm(join(root, 'var/lib/dbus/machine-id'));
    await symlink('/etc/machine-id', join(root, 'var/lib/dbus/machine-id'));
    names.setMachineId('cd'.repeat(16));
    expect(names.machineId).toBe('cd'.repeat(16));
  });

  it('are settled at boot: a random machine id where there is none, and the kernel’s name in the files', async () => {
    expect(names.settle('quiet')).toBe(false);
    const id = names.machineId;
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect([await file('etc/hostname'), await file('etc/hosts')]).toEqual(['source\n', '127.0.1.1 source\n']);
    expect(names.settle('quiet')).toBe(false);
    expect(names.machineId).toBe(id);
  });

  it("are settled at boot: the host's machine id goes before that of a disk, and tells that the disk was another's", async () => {
    expect(names.settle(`quiet offshoot.machine_id=${ID}`)).toBe(false);
    expect(names.settle(`offshoot.machine_id=${ID} quiet`)).toBe(false);
    kernel = 'fork';
    expect(names.settle(`offshoot.machine_id=${'cd'.repeat(16)}`)).toBe(true);
    expect([names.machineId, await file('etc/hostname'), await file('etc/hosts')]).toEqual([
      'cd'.repeat(16),
      'fork\n',
      '127.0.1.1 fork\n',
    ]);
  });
});
