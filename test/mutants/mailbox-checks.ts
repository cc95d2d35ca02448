import { fileURLToPath } from 'node:url';
import type { MutationSubject } from './mutant-judges.js';
import type { Mutant } from './mutants.js';

/** From the sources as from what is compiled of them, one folder deeper. */
const REPOSITORY = fileURLToPath(new URL('.', import.meta.url)).replace(/test\/(?:dist\/)?mutants\/$/, '');

/**
 * Every module that checks what a guest or a caller says of mailboxes, and the unit tests that have to notice. Not those that
 * only carry it: `udp-ack-listener.ts` hands each datagram to `expected-acks.ts`, `mailbox-handoff.ts` each request to the plan.
 */
export const MAILBOX_CHECKS: MutationSubject = {
  root: REPOSITORY,
  modules: [
    'shared/src/mailbox/frame-layout.ts',
    'shared/src/mailbox/frame.ts',
    'shared/src/mailbox/segments.ts',
    'shared/src/mailbox/ack-line.ts',
    'host-agent/src/mailbox/frame-finder.ts',
    'host-agent/src/mailbox/memory-pieces.ts',
    'host-agent/src/mailbox/memory-file.ts',
    'host-agent/src/mailbox/indexed-mailbox.ts',
    'host-agent/src/mailbox/mailbox-index-file.ts',
    'host-agent/src/mailbox/mailbox-index.ts',
    'host-agent/src/mailbox/mailbox-lookup.ts',
    'host-agent/src/mailbox/delivery-plan.ts',
    'host-agent/src/mailbox/delivery.ts',
    'host-agent/src/mailbox/expected-acks.ts',
    'host-agent/src/mailbox/pending-ack.ts',
    'host-agent/src/grpc/mailbox-request.ts',
    'host-agent/src/guest/guest-answers.ts',
    'guest-agent/src/local/local-protocol.ts',
    'guest-agent/src/mailbox/attached-mailbox.ts',
    'guest-agent/src/mailbox/attached-mailboxes.ts',
    'guest-agent/src/mailbox/mailbox-room.ts',
    'guest-agent/src/mailbox/mailbox.ts',
    'guest-agent/src/mailbox/user-mailboxes.ts',
  ],
  tests: [
    'shared/src/mailbox/*.test.ts',
    'host-agent/src/mailbox/{frame,memory,indexed,mailbox,delivery,expected}*.test.ts',
    'host-agent/src/grpc/fork-requests.test.ts',
    'host-agent/src/guest/guest-answers.test.ts',
    'guest-agent/src/local/local-protocol.test.ts',
    'guest-agent/src/mailbox/{attached,user}-mailboxes.test.ts',
    // For what the agent delivers into its own mailbox, to try its wake.
    'guest-agent/src/identity/rehearsal.test.ts',
  ],
};

/** Those of them whose tests read no memory files and try few cases: seconds, for every run of the tests. */
export const QUICK_CHECKS: MutationSubject = {
  ...MAILBOX_CHECKS,
  modules: MAILBOX_CHECKS.modules.filter((module) =>
    /(?:segments|indexed-mailbox|delivery(?:-plan)?|guest-answers)\.ts$/.test(module),
  ),
};

/** Conditions that check nothing: without them the same comes out, later, or with something left that nobody asks for. */
const NO_CHECKS: readonly (Pick<Mutant, 'file' | 'check'> & Partial<Pick<Mutant, 'instead'>>)[] = [
  // The whole magic is compared right after.
  { file: 'host-agent/src/mailbox/frame-finder.ts', check: 'bytes.readUInt32LE(at) !== MAGIC_WORD' },
  // No address, no frame, only the file would be opened.
  { file: 'host-agent/src/mailbox/memory-file.ts', check: 'addresses.length === 0' },
  // Beyond the region's end a stretch has no length, and the next search begins at that end.
  { file: 'host-agent/src/mailbox/memory-pieces.ts', check: 'data >= end' },
  // From the end on there is only data beyond it, which is looked at next.
  { file: 'host-agent/src/mailbox/memory-pieces.ts', check: 'stop < end' },
  // How far is looked ahead before the first piece is given out; it is cut into pieces all the same.
  { file: 'host-agent/src/mailbox/memory-pieces.ts', check: 'stop - start < pieceBytes' },
  // For the compiler: where more than 4096 are remembered there is an oldest one.
  { file: 'host-agent/src/mailbox/expected-acks.ts', check: 'oldest !== undefined' },
  // A wait that has ended does not end again.
  { file: 'host-agent/src/mailbox/pending-ack.ts', check: 'waiter !== undefined' },
  // For the compiler: undefined is no id, and no value that is no number is a whole or a safe one.
  { file: 'guest-agent/src/local/local-protocol.ts', check: "'id' in value" },
  { file: 'guest-agent/src/local/local-protocol.ts', check: "typeof id === 'number'" },
  { file: 'guest-agent/src/local/local-protocol.ts', check: "typeof value !== 'number'", instead: 'false' },
  // For the compiler: a mailbox has at least one segment, and no index beyond its last is asked for.
  { file: 'guest-agent/src/mailbox/attached-mailbox.ts', check: 'address === undefined' },
  { file: 'guest-agent/src/mailbox/mailbox.ts', check: 'page === undefined' },
  // No other frame is read where the first says enough: all of generation 0 are as good as none.
  { file: 'guest-agent/src/mailbox/attached-mailbox.ts', check: 'generation === 0' },
];

/** Whether taking the mutant's check out can make a difference. */
export const isCheck = (mutant: Mutant): boolean =>
  !NO_CHECKS.some(
    ({ file, check, instead = mutant.instead }) =>
      file === mutant.file && check === mutant.check && instead === mutant.instead,
  );
