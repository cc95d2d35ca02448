import type { InstanceState } from './instance-state.js';

/** What a booting VM goes through, whoever boots it. */
const BOOT = ['launch', 'link', 'hello', 'workload'] as const;
/** What a capture goes through in the driver. */
const CAPTURE = ['base copied', 'paused', 'saved', 'written'] as const;
/** What it goes through besides when the VM goes on, in its own VMM or in another one. */
const GO_ON = ['successor started', 'loaded', 'noted', 'went on', 'handed over'] as const;

/**
 * Every operation of several steps, and the steps it may go through. The journal names the one reached
 * last; an operation's first step is `begun`. At `record` its outcome stands in the row: a daemon killed before it undoes
 * the operation at its next start, one killed after it finishes it. (Deletions are finished from their beginning on, and
 * so is a stop once its hypervisor has ended; that of an image once it was taken away, by one renaming.)
 *
 * Imports are none, nor are images that go for others: what they do becomes visible by one renaming, nobody's rows change, and
 * an import that is asked for again finds what the first one made. The deletion of an image is one for its answer alone.
 */
export const OPERATION_STEPS = {
  'create-instance': ['begun', 'reserve', 'folder', 'disk', ...BOOT, 'record'],
  'start-instance': ['begun', 'drop memory', ...BOOT, 'record'],
  'stop-instance': ['begun', 'end hypervisor', 'record', 'drop memory'],
  'pause-instance': ['begun', 'hold', 'pause', 'record'],
  'resume-instance': ['begun', 'resume', 'record', 'thaw'],
  'standby-instance': ['begun', 'hold', 'lay disk', ...CAPTURE, 'record', 'adopt memory', 'end hypervisor'],
  'restore-instance': ['begun', 'launch', 'link', 'patch', 'record', 'acks', 'resume', 'thaw'],
  'capture-running': [
    'begun',
    'folder',
    'hold',
    'lay disk',
    'clone disk',
    ...CAPTURE,
    ...GO_ON,
    'record',
    'share memory',
  ],
  'fork-memory': ['begun', 'reserve', 'folder', 'files', 'launch', 'link', 'patch', 'resume', 'acks', 'record'],
  'fork-disk': ['begun', 'reserve', 'folder', 'disk', ...BOOT, 'record'],
  'fork-parked': ['begun', 'reserve', 'folder', 'files', 'record'],
  /** Several forks of which all are to stand or none: its parts are undone with it. */
  'fork-all': ['begun'],
  'delete-instance': ['begun', 'end hypervisor', 'remove folder', 'record'],
  'create-snapshot': ['begun', 'files', 'publish', 'record'],
  /** The instance then resumes as by `restore-instance`. */
  'restore-snapshot': ['begun', 'stage', 'record', 'end hypervisor', 'replace'],
  'delete-snapshot': ['begun', 'record', 'remove folder'],
  'delete-image': ['begun', 'take away', 'record'],
} as const satisfies Readonly<Record<string, readonly [typeof BEGUN, ...string[]]>>;

export const BEGUN = 'begun';

export type OperationName = keyof typeof OPERATION_STEPS;
export type StepOf<Name extends OperationName> = (typeof OPERATION_STEPS)[Name][number];
export type BootStep = (typeof BOOT)[number];
export type CaptureStep = (typeof CAPTURE)[number];
export type GoOnStep = CaptureStep | (typeof GO_ON)[number];

/**
 * What an operation that was carried out leaves: its instance in a state, there, or gone. `nothing`: whatever it made is of
 * no use without the daemon that made it. `recorded`: something else than an instance, there or gone once its step `record`
 * was taken. `image gone`: what says so is the images' directory, which other daemons may share.
 */
export const OPERATION_OUTCOMES: Readonly<
  Record<OperationName, InstanceState | 'there' | 'gone' | 'nothing' | 'recorded' | 'image gone'>
> = {
  'create-instance': 'there',
  'start-instance': 'RUNNING',
  'stop-instance': 'STOPPED',
  'pause-instance': 'PAUSED',
  'resume-instance': 'RUNNING',
  'standby-instance': 'STANDBY',
  'restore-instance': 'RUNNING',
  'capture-running': 'nothing',
  'fork-memory': 'there',
  'fork-disk': 'there',
  'fork-parked': 'there',
  'fork-all': 'nothing',
  'delete-instance': 'gone',
  'create-snapshot': 'recorded',
  'restore-snapshot': 'recorded',
  'delete-snapshot': 'recorded',
  'delete-image': 'image gone',
};

/**
 * Whether an operation that was cut short has been carried out, once everything is at rest again.
 * @param step reached last
 * @param found of its instance the state, and whether its image is there
 */
export function isDone(
  { operation, step }: { readonly operation: OperationName; readonly step: string },
  { state, image }: { readonly state: InstanceState | undefined; readonly image: boolean },
): boolean {
  const outcome = OPERATION_OUTCOMES[operation];
  if (outcome === 'nothing') return false;
  if (outcome === 'recorded' || outcome === 'image gone') {
    const steps: readonly string[] = OPERATION_STEPS[operation];
    const isRecorded = steps.indexOf(step) >= steps.indexOf('record');
    return isRecorded || (outcome === 'image gone' && !image);
  }
  if (outcome === 'there') return state !== undefined;
  return outcome === (state ?? 'gone');
}
