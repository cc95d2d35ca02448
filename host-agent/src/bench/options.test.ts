import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { parseForks, parseMemory } from './options.js';

describe('sizes of guest memory', () => {
  it('are taken in ascending order, each once', () => {
    expect(parseMemory('2048, 512,2048')).toEqual([512, 2048]);
  });

  it.each(['', '512,', '64', '1e3', '513', '-512', '131072'])('are refused as %j', (text) => {
    expect(() => parseMemory(text)).toThrow(InvalidArgumentError);
  });
});

describe('the number of forks', () => {
  it('is a whole number from 1 to 1000', () => {
    expect(parseForks('20')).toBe(20);
    for (const text of ['0', '1001', '2.5', 'many', '']) expect(() => parseForks(text)).toThrow(InvalidArgumentError);
  });
});
