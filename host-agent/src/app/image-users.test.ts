import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintSnapshotId, parseImageId } from '../domain/ids.js';
import { StateLab } from '../state/testing/state-lab.js';
import { ownUsersOf } from './image-users.js';

describe('the users of an image', () => {
  let lab: StateLab;
  beforeEach(async () => {
    lab = await StateLab.open();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  it.each(['CREATING', 'RUNNING', 'STOPPED', 'STANDBY', 'FAILED'] as const)(
    'are its instances, one that is %s too, and its snapshots',
    async (state) => {
      const instance = await lab.newInstance({ state });
      const { imageId } = instance;
      const users = ownUsersOf(lab.store, lab.snapshots);
      expect(users(imageId)).toEqual({ instances: ['vm'], snapshots: [] });
      const source = { sourceId: instance.id, sourceName: 'vm', stamps: {} };
      lab.snapshots.insert({ ...instance, ...source, id: mintSnapshotId(), name: 'one' });
      lab.snapshots.insert({ ...instance, ...source, id: mintSnapshotId(), name: 'two' });
      lab.store.delete(instance.id);
      expect(users(imageId)).toEqual({ instances: [], snapshots: ['one', 'two'] });
      expect(users(imageId, 1)).toEqual({ instances: [], snapshots: ['one'] });
      expect(users(parseImageId('cd'.repeat(32)))).toEqual({ instances: [], snapshots: [] });
    },
  );
});
