import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { DaemonClient } from '../cli/daemon-client.js';
import { goalOf, type Goal } from './goals.js';
import { loadAverage } from './machine.js';
import { OurInstances } from './our-instances.js';
import { ParkedMemory, type MailboxPayload } from './parked-memory.js';
import { makeSparseFile } from './sparse-file.js';
import { Series, summarize, type Summary } from './statistics.js';

const MIB = 2 ** 20;
const WARM_UP = 2;

/** The made files: their size, and how long a stretch of data is that a hole as long follows. */
const MADE_MIB = 2048;
const STRETCH_MIB = 2;

/** What is delivered: into the worker's mailbox of one frame, and into one that is just large enough. */
const SMALL: MailboxPayload = { mailbox: 'task', payload: randomBytes(1024) };
const LARGE: MailboxPayload = { mailbox: 'more-1', payload: randomBytes(200 * 1024) };

/** Sources whose indexes are weighed, by what their worker arms besides a mailbox of one frame. */
const INDEXED = [
  { count: 0, capacityBytes: 0 },
  { count: 63, capacityBytes: 3840 },
  // As many frames as an agent holds for its users, nearly: 1024.
  { count: 63, capacityBytes: 16 * 3840 },
] as const;

/** Searches of one memory file. */
export interface ScanSpeed {
  readonly what: string;
  readonly memoryMib: number;
  readonly fileBytes: number;
  /** Of its data; holes are not read. */
  readonly readBytes: number;
  readonly frames: number;
  /** In milliseconds. */
  readonly times: Summary;
}

/** In milliseconds. `open`, `small` and `large` within this process, the patches as the daemon times a fork's phase. */
export type DeliveryTimes = Record<'open' | 'small' | 'large' | Patch, Summary>;
type Patch = 'patchWithNone' | 'patchWithSmall' | 'patchWithLarge';

/** What is kept of one capture's mailboxes. */
export interface IndexSize {
  /** The agent's own among them. */
  readonly mailboxes: number;
  readonly frames: number;
  readonly bytes: number;
}

export interface MailboxesResult {
  readonly scans: readonly ScanSpeed[];
  readonly deliveries: readonly { readonly memoryMib: number; readonly times: DeliveryTimes }[];
  readonly indexes: readonly IndexSize[];
  readonly loadAverage: { readonly before: number; readonly after: number };
}

export interface MailboxesOptions {
  readonly client: DaemonClient;
  /** Samples of everything that is timed. */
  readonly forks: number;
  /** Sizes of guest memory, ascending. */
  readonly memory: readonly number[];
  /** Where files are made: on the same disk as the daemon's. */
  readonly scratch: string;
  readonly onStep: (step: string) => void;
}

/** A parked VM with a mailbox for each payload. */
interface Source {
  readonly name: string;
  readonly memoryMib: number;
  readonly memory: ParkedMemory;
}

export async function measureMailboxes(options: MailboxesOptions): Promise<MailboxesResult> {
  const { client, memory, onStep } = options;
  const ours = new OurInstances(client);
  const before = loadAverage();
  const sources: Source[] = [];
  for (const memoryMib of memory) {
    onStep(`${String(memoryMib)} MiB: boot`);
    const name = `source-${String(memoryMib)}`;
    await ours.boot(name, memoryMib, { more: 1, capacityBytes: LARGE.payload.length });
    await ours.standby(name);
    sources.push({ name, memoryMib, memory: await ParkedMemory.of((await ours.get(name)).directory) });
  }
  const scans = await scanInTurn(sources, options);
  const deliveries: MailboxesResult['deliveries'][number][] = [];
  for (const source of sources)
    deliveries.push({ memoryMib: source.memoryMib, times: await deliveriesOf(ours, source, options) });
  for (const { name } of sources) await ours.remove(name);
  const indexes: IndexSize[] = [];
  for (const each of INDEXED) {
    onStep(`index of ${String(each.count + 1)} mailboxes`);
    indexes.push(await indexOf(ours, memory[0] ?? 512, each));
  }
  return { scans, deliveries, indexes, loadAverage: { before, after: loadAverage() } };
}

/** Searches the memory of parked VMs and made files in turn, all of them in the page cache. */
async function scanInTurn(
  sources: readonly Source[],
  { forks, scratch, onStep }: MailboxesOptions,
): Promise<ScanSpeed[]> {
  const made = async (what: string, stretchMib: number): Promise<Omit<Source, 'name'> & { what: string }> => {
    const path = join(scratch, `made-${String(stretchMib)}`);
    await makeSparseFile(path, MADE_MIB * MIB, stretchMib * MIB);
    return { what, memoryMib: MADE_MIB, memory: await ParkedMemory.ofFile(path) };
  };
  onStep('files of half data and of none');
  const subjects = [
    ...sources.map(({ memoryMib, memory }) => ({ what: 'parked VM', memoryMib, memory })),
    await made('made file, half data', STRETCH_MIB),
    await made('made file, no data', 0),
  ].map((subject) => ({ ...subject, ms: [] as number[], readBytes: 0, frames: 0 }));
  for (let i = -WARM_UP; i < forks; i++) {
    onStep(`searches: ${i < 0 ? 'warm-up' : `${String(i + 1)} of ${String(forks)}`}`);
    for (const subject of subjects) {
      const started = performance.now();
      const { bytesRead, frames } = await subject.memory.scan();
      if (i >= 0) subject.ms.push(performance.now() - started);
      subject.readBytes = bytesRead;
      subject.frames = frames.length;
    }
  }
  return subjects.map(({ what, memoryMib, memory, readBytes, frames, ms }) => ({
    what,
    memoryMib,
    fileBytes: memory.bytes,
    readBytes,
    frames,
    times: summarize(ms),
  }));
}

/** Forks with no payload, the small and the large one in turn; into the memory of the first both are delivered from here. */
async function deliveriesOf(
  ours: OurInstances,
  { name, memoryMib, memory }: Source,
  { forks, onStep }: MailboxesOptions,
): Promise<DeliveryTimes> {
  const series = new Series<keyof DeliveryTimes>();
  const forkWith = async (patch: Patch, payload: MailboxPayload | undefined, i: number): Promise<void> => {
    const ms = await ours.forkWith(name, 'fork', payload);
    if (i >= 0) series.add(patch, ms);
  };
  for (let i = -WARM_UP; i < forks; i++) {
    onStep(`${String(memoryMib)} MiB: deliveries: ${i < 0 ? 'warm-up' : `${String(i + 1)} of ${String(forks)}`}`);
    await forkWith('patchWithNone', undefined, i);
    await ours.pause('fork');
    const { vmmPid } = await ours.get('fork');
    // In turn first, because the first finds nothing of the other process in the caches.
    const { openMs, deliverMs } = await memory.deliverInto(vmmPid, i % 2 === 0 ? [SMALL, LARGE] : [LARGE, SMALL]);
    await ours.remove('fork');
    if (i >= 0) {
      series.add('open', openMs);
      series.add('small', deliverMs.get(SMALL.mailbox) ?? Number.NaN);
      series.add('large', deliverMs.get(LARGE.mailbox) ?? Number.NaN);
    }
    await forkWith('patchWithSmall', SMALL, i);
    await ours.remove('fork');
    await forkWith('patchWithLarge', LARGE, i);
    await ours.remove('fork');
  }
  return series.summaries() as DeliveryTimes;
}

/** What is kept once the memory was searched, as somebody lists the mailboxes. */
async function indexOf(
  ours: OurInstances,
  memoryMib: number,
  { count, capacityBytes }: (typeof INDEXED)[number],
): Promise<IndexSize> {
  await ours.boot('indexed', memoryMib, { more: count, capacityBytes });
  await ours.standby('indexed');
  const { directory } = await ours.get('indexed');
  const segments = await ours.mailboxSegments('indexed');
  const { size } = await stat(join(directory, 'mailboxes.json'));
  await ours.remove('indexed');
  return { mailboxes: segments.length, frames: segments.reduce((sum, each) => sum + each, 0), bytes: size };
}

/** Data searched in a second, in GB (10^9 bytes), half of the times at least. */
export const gigabytesPerSecond = ({ readBytes, times }: Pick<ScanSpeed, 'readBytes' | 'times'>): number =>
  readBytes / 1e6 / times.p50;

/** The goals of the specification that these figures tell of. */
export const judgeMailboxes = ({ scans }: Pick<MailboxesResult, 'scans'>): Goal[] =>
  scans
    .filter(({ readBytes }) => readBytes > 0)
    .map((scan) =>
      goalOf(scan.memoryMib)('P9', `search, ${scan.what}`, gigabytesPerSecond(scan), 'GB/s', { atLeast: 2 }),
    );
