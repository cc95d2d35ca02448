import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { parseShowDepends } from './kernel-tree.js';
import { parseLdd, sharedLibraries } from './shared-libraries.js';
import { drain } from './tar/drain.js';
import { ToolFailure, runProgram, runTool, streamTool } from './tool.js';

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

  it.each(['1', '2'])('does so on whichever output the program says it: %s', async (output) => {
    const script = `echo "disk: No space left on device" >&${output}; exit 8`;
    await expect(runProgram('sh', ['-c', script])).rejects.toMatchObject({ reason: 'DISK_FULL' });
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

  it.each([
    ['echo "inode 12 is wrong"; echo >&2 "version 1"', 'sh ended with status 4: inode 12 is wrong; version 1'],
    ['true', 'sh ended with status 4: Command failed with exit code 4: sh -c'],
  ])('says what it said on both outputs, or that it said nothing: %s', async (script, message) => {
    await expect(runProgram('sh', ['-c', `${script}; exit 4`])).rejects.toMatchObject({
      message: expect.stringContaining(message) as string,
    });
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

describe('what a program writes', () => {
  const read = async (...args: Parameters<typeof streamTool>): Promise<string> => {
    const chunks: Buffer[] = [];
    for await (const chunk of streamTool(...args)) chunks.push(chunk);
    return Buffer.concat(chunks).toString('latin1');
  };

  it('is read to the byte, of what it is given', async () => {
    const packed = Buffer.from(
      await read('zstd', ['-q', '-c'], { input: Readable.from([Buffer.from('a\n\xff\n')]) }),
      'latin1',
    );
    expect(await read('zstd', ['-d', '-q', '-c'], { input: Readable.from([packed]) })).toBe(
      Buffer.from('a\n\xff\n').toString('latin1'),
    );
  });

  it('ends with the failure of the program', async () => {
    await expect(read('zstd', ['-d', '-c'], { input: Readable.from([Buffer.from('none')]) })).rejects.toMatchObject({
      reason: 'TOOL_FAILED',
      tool: 'zstd',
    });
  });

  it('ends with the failure of what it is given', async () => {
    const input = new Readable({
      read() {
        this.destroy(new Error('the disk is gone'));
      },
    });
    await expect(read('zstd', ['-q', '-c'], { input })).rejects.toThrow('the disk is gone');
  });

  it('ends the program when nobody reads on', async () => {
    const endless = streamTool('tar', ['-c', '/dev/zero', '-C', '/', 'usr']);
    expect((await endless.next()).done).toBe(false);
    await endless.return();
  });

  it('ends with the signal', async () => {
    const controller = new AbortController();
    const endless = streamTool('tar', ['-c', '-C', '/', 'usr'], { signal: controller.signal });
    await endless.next();
    controller.abort();
    await expect(drain(endless)).rejects.toMatchObject({ kind: 'Aborted' });
  });
});
