import type { Dependencies } from '../dependencies.js';

export type CheckOutcome = 'pass' | 'warn' | 'fail';

/** What one look found. */
export interface Finding {
  readonly outcome: CheckOutcome;
  /** What is there, for people. */
  readonly detail: string;
  /** What to do about it; empty when it passed. */
  readonly remedy: string;
}

export interface CheckResult extends Finding {
  readonly name: string;
}

/** What checks look at: the daemon's own parts, and the machine. */
export interface DoctorSubject extends Pick<
  Dependencies,
  | 'paths'
  | 'drivers'
  | 'defaultDriver'
  | 'network'
  | 'acks'
  | 'images'
  | 'disks'
  | 'store'
  | 'files'
  | 'snapshots'
  | 'snapshotFiles'
  | 'journal'
  | 'orphans'
  | 'zfs'
  | 'helper'
> {
  /** Folder that becomes /opt/offshoot in guests. */
  readonly agentBundle: string;
  /** Where the API is served: `unix://PATH` or `tcp://HOST:PORT`. */
  readonly listening: () => string;
  /** Where the machine's /proc, /sys, /dev and /etc are: `/`, or a tree that tests make. */
  readonly root: string;
  /** Wall clock, in milliseconds since 1970. */
  readonly now: () => number;
  /** Mend what can be mended without losing anything. */
  readonly fix: boolean;
}

export interface Check {
  /** One word or two with a hyphen, for machines: it does not change. */
  readonly name: string;
  /** A check that throws has failed; its message is the detail. Undefined: the daemon is not configured to have it. */
  run(subject: DoctorSubject, signal: AbortSignal): Promise<Finding | undefined> | Finding;
}

export const pass = (detail: string): Finding => ({ outcome: 'pass', detail, remedy: '' });
export const warn = (detail: string, remedy: string): Finding => ({ outcome: 'warn', detail, remedy });
export const fail = (detail: string, remedy: string): Finding => ({ outcome: 'fail', detail, remedy });
