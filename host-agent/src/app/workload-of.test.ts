import { describe, expect, it } from 'vitest';
import type { ImageConfig } from '../ports/image-store.js';
import { workloadOf } from './workload-of.js';

const config: ImageConfig = {
  entrypoint: ['/serve'],
  command: ['--port', '80'],
  env: { PATH: '/app/bin:/bin', MODE: 'image' },
  user: { uid: 0, gid: 0, groups: [], home: '/root' },
  workingDirectory: '/app',
};
const files = [{ path: '/etc/task', mode: 0o600, content: Buffer.from('task') }];
const asked = { argv: ['/bin/true'], env: { MODE: 'request' }, workingDirectory: '/srv', files };

describe('the workload of an instance', () => {
  it('is what was asked for where the image says nothing', () => {
    expect(workloadOf({}, asked)).toEqual(asked);
    expect(workloadOf({}, undefined)).toBeUndefined();
    expect(workloadOf({ config: { ...config, entrypoint: [], command: [] } }, undefined)).toBeUndefined();
  });

  it('has the instance’s environment: before the image’s, after its own', () => {
    const env = { MODE: 'instance', ONLY: 'instance' };
    expect(workloadOf({}, asked, env)?.env).toEqual({ MODE: 'request', ONLY: 'instance' });
    expect(workloadOf({}, undefined, env)).toBeUndefined();
    expect(workloadOf({ config }, asked, env)?.env).toMatchObject({
      PATH: '/app/bin:/bin',
      MODE: 'request',
      ONLY: 'instance',
    });
    expect(workloadOf({ config }, undefined, env)?.env).toMatchObject({ HOME: '/root', MODE: 'instance' });
  });

  it('is the image’s own program, in its directory and environment, where none was asked for', () => {
    expect(workloadOf({ config }, undefined)).toEqual({
      argv: ['/serve', '--port', '80'],
      env: { HOME: '/root', PATH: '/app/bin:/bin', MODE: 'image' },
      workingDirectory: '/app',
      files: [],
    });
  });

  it('is the image’s own program with the files, environment and directory of a request that names no program', () => {
    expect(workloadOf({ config }, { ...asked, argv: [] })).toEqual({
      argv: ['/serve', '--port', '80'],
      env: { HOME: '/root', PATH: '/app/bin:/bin', MODE: 'request' },
      workingDirectory: '/srv',
      files,
    });
  });

  it('is the program asked for, as root, with the image’s environment where the request says nothing', () => {
    const user = { uid: 1000, gid: 1000, groups: [], home: '/home/app' };
    expect(workloadOf({ config: { ...config, user } }, asked)).toEqual({
      ...asked,
      env: { PATH: '/app/bin:/bin', MODE: 'request' },
    });
  });

  it('runs as the image’s user and groups, at home there', () => {
    const user = { uid: 1000, gid: 1001, groups: [27, 44], home: '/home/app' };
    expect(workloadOf({ config: { ...config, user } }, undefined)).toMatchObject({
      argv: ['/opt/offshoot/runtime/bin/as-user', '1000', '1001', '27,44', '/serve', '--port', '80'],
      env: { HOME: '/home/app' },
    });
    expect(workloadOf({ config: { ...config, user: { ...user, groups: [] } } }, undefined)?.argv).toContain('-');
  });
});
