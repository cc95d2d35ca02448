import type { CapturePaths } from '../../paths.js';
import type { Capture, Instance } from '../../domain/instance.js';
import type { GuestMemory } from '../../ports/driver.js';
import type { GuestLink } from '../../ports/guest-link.js';

/** What a hand-off may look at before the fork exists. */
export interface ForkSource {
  readonly instance: Pick<Instance, 'id' | 'name'>;
  readonly capture: Capture;
  /** Where the capture lies. */
  readonly files: CapturePaths;
}

/** What a hand-off puts into the fork's memory is made of. */
export interface NewFork {
  readonly instance: Instance;
  /** The secret by which its software shows which instance it is; wiped when the hand-offs are over. */
  readonly credential: Buffer;
}

/** What a hand-off is given once the fork runs. */
export interface ResumedFork {
  readonly link: GuestLink;
  /** `performance.now()` at the resume. */
  readonly resumedAt: number;
}

/**
 * Something that is prepared before a fork resumes and awaited after it: the network, the callers' mailboxes. A fork goes
 * through a list of them in order, `prepare` of all before `apply` of any; adding one is one entry in that list.
 */
export interface ResumeHandoff extends Disposable {
  readonly name: string;
  /** Finds and checks everything on the source; touches nothing. */
  prepare(source: ForkSource, signal: AbortSignal): Promise<void>;
  /** Puts what belongs to this fork into its memory; it is loaded and paused. */
  apply(memory: GuestMemory, fork: NewFork): Promise<void>;
  /** Waits for the guest's answer; all hand-offs wait at the same time. */
  afterResume(fork: ResumedFork, signal: AbortSignal): Promise<void>;
}
