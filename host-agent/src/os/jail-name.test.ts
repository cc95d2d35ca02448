import { describe, expect, it } from 'vitest';
import { folderOfJail, jailNameOf } from './jail-name.js';

describe('the name of a jail', () => {
  it('tells whose it is, and differs between state directories', () => {
    const name = jailNameOf('/state/instances/01hx');
    expect(name).toMatch(/^01hx-[0-9a-f]{16}$/);
    expect(folderOfJail(name, '/state/instances')).toBe('/state/instances/01hx');
    expect(folderOfJail(name, '/other/instances')).toBeUndefined();
    expect(jailNameOf('/other/instances/01hx')).not.toBe(name);
  });

  it.each(['a folder, with "all"', 'x'.repeat(200), 'ö', ''])('is one that a jailer takes: %s', (folder) => {
    expect(jailNameOf(`/state/${folder}`)).toMatch(/^[A-Za-z0-9-]{1,64}$/);
  });

  it.each(['', 'x', '../01hx-0123456789abcdef', '-0123456789abcdef'])('is nobody’s when it is %j', (jail) => {
    expect(folderOfJail(jail, '/state/instances')).toBeUndefined();
  });
});
