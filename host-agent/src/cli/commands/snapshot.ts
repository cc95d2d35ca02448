import type { Define } from './define.js';
import { defineSnapshotCreate } from './snapshot/create.js';
import { defineSnapshotFork } from './snapshot/fork.js';
import { defineSnapshotInspect, defineSnapshotLs, defineSnapshotMailboxes } from './snapshot/show.js';
import { defineSnapshotRestore, defineSnapshotRm, defineSnapshotVerify } from './snapshot/use.js';

const VERBS: readonly Define[] = [
  defineSnapshotCreate,
  defineSnapshotLs,
  defineSnapshotInspect,
  defineSnapshotMailboxes,
  defineSnapshotFork,
  defineSnapshotRestore,
  defineSnapshotVerify,
  defineSnapshotRm,
];

export const defineSnapshot: Define = (program, run) => {
  const snapshot = program.command('snapshot').description('keep moments of instances, fork them, go back to them');
  for (const define of VERBS) define(snapshot, run);
};
