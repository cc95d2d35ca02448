import { describe, expect, it } from 'vitest';
import { parseImageId } from '../../domain/ids.js';
import { CapturePaths } from '../../paths.js';
import { DatasetTree, isDatasetName } from './dataset-tree.js';

const tree = new DatasetTree('pool/offshoot');

describe("the daemon's datasets", () => {
  it('are named as the specification names them', () => {
    const image = parseImageId('ab'.repeat(32));
    expect(tree.base(image)).toBe(`pool/offshoot/base/${image}`);
    expect(tree.instance(new CapturePaths('/state/instances/i'))[0]).toBe('pool/offshoot/instances/i');
    expect(tree.moment(new CapturePaths('/state/snapshots/.new-s', 's'))).toBe('pool/offshoot/snapshots/s');
  });

  it.each([
    'pool/offshoot/instances/i',
    'pool/offshoot/snapshots/s@base',
    'pool/offshoot/instances/01jx_a.b:c-d@kept-0',
  ])('are those strictly below the one given to it: %s is', (name) => {
    expect(tree.contains(name)).toBe(true);
  });

  it.each([
    'pool/offshoot',
    'pool/offshoot@base',
    'pool/offshoot/',
    'pool/offshoots/i',
    'pool/other/i',
    'pool/offshoot/../other',
    'pool/offshoot/.',
    'pool/offshoot/instances/..@x',
    'pool/offshoot//i',
    'pool/offshoot/i@a@b',
    'pool/offshoot/i@',
    'pool/offshoot/i#bookmark',
    'pool/offshoot/i%recv',
    'pool/offshoot/i@a,b',
    'pool/offshoot/i@a%b',
    'pool/offshoot/-R',
    'pool/offshoot/i j',
    'pool/offshoot/i\n',
    '-R',
    '',
    `pool/offshoot/${'x'.repeat(243)}`,
  ])('are no others: %j is not', (name) => {
    expect(tree.contains(name)).toBe(false);
  });

  it('keep the content of bases and moments, and no other snapshot for itself', () => {
    expect(['base/k@base', 'snapshots/s@base'].every((name) => tree.isContent(`pool/offshoot/${name}`))).toBe(true);
    expect(
      ['instances/i@base', 'snapshots/s@kept-1', 'base@base'].some((name) => tree.isContent(`pool/offshoot/${name}`)),
    ).toBe(false);
  });

  it('can be below any dataset with an ordinary name', () => {
    expect(['pool', 'pool/a/b', 'tank0/vm.disks'].every(isDatasetName)).toBe(true);
    expect(['', '/pool', 'pool/', 'pool@s', 'po ol', '..', 'pool/..'].some(isDatasetName)).toBe(false);
  });
});
