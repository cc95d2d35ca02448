import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { QUICK_CHECKS } from '../mutants/mailbox-checks.js';
import { findMutants, withMutants } from '../mutants/mutants.js';
import { described, survivorsOf } from '../mutants/survivors.js';

const SAMPLE = `
export function check(name: string, size: number): string {
  if (name === '' || size > 5) throw new Error('bad');
  for (const letter of ['x', 'y']) if (name.includes(letter)) return 'letter';
  return /^[a-z]+$/.test(name) && size > 0 ? 'good' : 'odd';
}
`;

describe('a mutant', () => {
  it('is there for each part of a condition, each field that is gone through and each anchor of a pattern', () => {
    expect(findMutants('sample.ts', SAMPLE).map(({ line, check, instead }) => [line, check, instead])).toEqual([
      [3, "name === ''", 'false'],
      [3, 'size > 5', 'false'],
      [4, "'x'", ''],
      [4, "'y'", ''],
      [4, 'name.includes(letter)', 'false'],
      [5, '/^[a-z]+$/.test(name)', 'true'],
      [5, 'size > 0', 'true'],
      [5, '/^[a-z]+$/', '/[a-z]+$/'],
      [5, '/^[a-z]+$/', '/^[a-z]+/'],
    ]);
  });

  it('is switched on by its number, one at a time', () => {
    const text = withMutants('sample.ts', SAMPLE.replace('export ', '').replace(/: (?:string|number)/g, ''), 10);
    const withMutant = (offshootMutant: number, name: string, size: number): unknown =>
      runInNewContext(`${text}; check(name, size)`, { offshootMutant, name, size });
    expect(() => withMutant(-1, 'abc', 6)).toThrow('bad');
    expect(withMutant(11, 'abc', 6)).toBe('good');
    expect([withMutant(-1, 'ax', 1), withMutant(12, 'ax', 1), withMutant(13, 'ax', 1)]).toEqual([
      'letter',
      'good',
      'letter',
    ]);
    expect([withMutant(-1, '1a', 1), withMutant(17, '1a', 1), withMutant(18, '1a', 1)]).toEqual(['odd', 'good', 'odd']);
  });
});

describe('the unit tests of the mailboxes', () => {
  it('notice every check that is taken out of segments, the index, the plan, the delivery and the reading of registrations', async () => {
    const { tried, survivors } = await survivorsOf(QUICK_CHECKS);
    expect(survivors.map(described)).toEqual([]);
    expect(tried).toBeGreaterThan(50);
  });

  it('are said to miss one where the test is missing that would notice', async () => {
    const { survivors } = await survivorsOf({
      ...QUICK_CHECKS,
      modules: ['host-agent/src/guest/guest-answers.ts'],
      tests: ['host-agent/src/mailbox/indexed-mailbox.test.ts'],
    });
    expect(survivors.map(({ check }) => check)).toContain('count > MAX_SEGMENTS');
  });
});
