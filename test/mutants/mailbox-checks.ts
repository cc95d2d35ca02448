import { fileURLToPath } from 'node:url';
import type { MutationSubject } from './mutant-judges.js';
import type { Mutant } from './mutants.js';

/** From the sources as from what is compiled of them, one folder deeper. */
const REPOSITORY = fileURLToPath(new URL('.', import.meta.url)).replace(/test\/(?:dist\/)?mutants\/$/, '');

/** Every module that checks what a guest or a caller says of mailboxes, and the unit tests that have to notice. */
export const MAILBOX_CHECKS: MutationSubject = {
  root: REPOSITORY,
  modules: [
    'shared/src/mailbox/frame-layout.ts',
    'shared/src/mailbox/frame.ts',
    'shared/src/mailbox/ack-line.ts',
    'host-agent/src/mailbox/frame-finder.ts',
    'host-agent/src/mailbox/memory-file.ts',
    'host-agent/src/mailbox/indexed-mailbox.ts',
    'host-agent/src/mailbox/mailbox-lookup.ts',
    'host-agent/src/mailbox/delivery-plan.ts',
    'host-agent/src/mailbox/delivery.ts',
    'host-agent/src/guest/guest-answers.ts',
  ],
  tests: [
    'shared/src/mailbox/*.test.ts',
    'host-agent/src/mailbox/{frame,memory,indexed,mailbox,delivery}*.test.ts',
    'host-agent/src/guest/guest-answers.test.ts',
  ],
};

/** Those of them whose tests read no memory files and try few cases: seconds, for every run of the tests. */
export const QUICK_CHECKS: MutationSubject = {
  ...MAILBOX_CHECKS,
  modules: MAILBOX_CHECKS.modules.filter((module) =>
    /(?:indexed-mailbox|delivery(?:-plan)?|guest-answers)\.ts$/.test(module),
  ),
};

/** Conditions that save time and check nothing: without them the same comes out, later. */
const SAVES_TIME: readonly Pick<Mutant, 'file' | 'check'>[] = [
  // The whole magic is compared right after.
  { file: 'host-agent/src/mailbox/frame-finder.ts', check: 'bytes.readUInt32LE(at) !== MAGIC_WORD' },
  // No address, no frame, only the file would be opened.
  { file: 'host-agent/src/mailbox/memory-file.ts', check: 'addresses.length === 0' },
];

/** Whether taking the mutant's check out can make a difference. */
export const isCheck = (mutant: Mutant): boolean =>
  !SAVES_TIME.some(({ file, check }) => file === mutant.file && check === mutant.check);
