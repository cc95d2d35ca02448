import { describe, expect, it } from 'vitest';
import { parseShowDepends } from './kernel-tree.js';
import { parseLdd, sharedLibraries } from './shared-libraries.js';
import { ToolFailure, runProgram, runTool } from './tool.js';

describe('runTool', () => {
  it('names the package of a program that is not installed', async () => {
    await expect(runProgram('offshoot-no-such-program', [], {}, 'a-package')).rejects.toMatchObject({
      kind: 'Unsupported',
      reason: 'TOOL_MISSING',
      message: expect.stringContaining('install the package a-package') as string,
    });
  });

  it('reports a full disk as what it is', async () => {
    await expect(runProgram('cp', [process.execPath, '/dev/full'])).rejects.toMatchObject({
      kind: 'Capacity',
      reason: 'DISK_FULL',
    });
  });

  it('ends the program when the signal fires', async () => {
    const controller = new AbortController();
    const running = runProgram('tail', ['-f', '/dev/null'], { signal: controller.signal });
    controller.abort();
    await expect(running).rejects.toMatchObject({ kind: 'Aborted' });
  });

  it('keeps what a failing program said', async () => {
    const failure = await runTool('dpkg-deb', ['-x', '/nonexistent.deb', '/nonexistent']).catch(
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(ToolFailure);
    expect((failure as ToolFailure).stderr).toContain('/nonexistent.deb');
  });
});

describe('shared libraries', () => {
  it('are those the loader would load, itself among them', async () => {
    const libraries = await sharedLibraries(process.execPath);
    expect(libraries.some((path) => path.endsWith('/libc.so.6'))).toBe(true);
    expect(libraries.some((path) => /\/ld-.*\.so\.\d$/.test(path))).toBe(true);
  });

  it('are none for what is no program', async () => {
    expect(await sharedLibraries('/etc/passwd')).toEqual([]);
  });

  it('must be installed', () => {
    expect(() => parseLdd('\tlibicu.so.72 => not found\n', '/usr/bin/node')).toThrow(/libicu\.so\.72/);
  });
});

describe('parseShowDepends', () => {
  it('takes files in loading order and leaves out what is built in', () => {
    expect(parseShowDepends('builtin ext4\ninsmod /k/lib/virtio.ko \ninsmod /k/lib/virtio_net.ko napi_tx=1\n')).toEqual(
      ['/k/lib/virtio.ko', '/k/lib/virtio_net.ko'],
    );
  });
});
