import { randomUUID } from 'node:crypto';
import { constants, type BigIntStats } from 'node:fs';
import { link, lstat, mkdir, open, readdir, readlink, rename, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AlreadyExists, Corrupt, InvalidInput, InvalidState, errnoOf } from '@offshoot/shared/errors.js';
import { syncDirectory } from './durable-file.js';
import { copyAttributes } from './file-attributes.js';
import { assertLinkStaysInside } from './link-containment.js';
import { copyOpenFile, type CopyCost } from './sparse-copy.js';
import { UnfinishedPath } from './unfinished-path.js';

/** A copy in the making has a name that begins so, beside the name it is to get; after a crash it is to be removed. */
export const UNFINISHED_COPY = '.new-';

/** Of one run of a program, at the top of the tree. */
const LOGS = 'logs';

/** Of one run of a program, or half-written. */
const TRANSIENT = ['.pid', '.tmp'] as const;

export interface DirectoryCopyOptions {
  /** Names directly in the source that are left out, whatever they are. */
  readonly exclude?: readonly string[];
  /**
   * Whether the copy survives a power cut when the call returns (fsync of all of it). Without it the copy is safe against
   * the death of any process.
   */
  readonly durable: boolean;
}

export interface DirectoryCopyCost extends CopyCost {
  /** Whether every file was reflinked. */
  readonly reflinked: boolean;
  /** Regular files made, further names of one file included. */
  readonly files: number;
}

/**
 * Copies a tree nobody writes to; `destination` appears at once and whole, or not at all. Regular files are reflinked; once
 * the filesystem has said that it cannot, only extents that hold data are copied. Kept are mode, owner (as root), times,
 * symbolic links as they are, and hard links between files of the tree; extended attributes are not. Left out are sockets,
 * `*.pid`, `*.tmp`, the directory `logs` at the top and what `exclude` names.
 * @param destination must not exist; may be on another filesystem than `source`
 * @throws SparseCopyUnsupported
 * @throws InvalidState FILE_NOT_COPYABLE for devices and FIFOs, LINK_LEAVES_DIRECTORY
 * @throws Corrupt FILE_CHANGED when something changes under the copy, or `source` is not a directory
 * @throws AlreadyExists, InvalidInput when `destination` is inside `source`, and system errors such as EIO and ENOSPC
 */
export async function copyDirectory(
  source: string,
  destination: string,
  options: DirectoryCopyOptions,
  signal?: AbortSignal,
): Promise<DirectoryCopyCost> {
  signal?.throwIfAborted();
  await assertFree(destination);
  const parent = dirname(destination);
  const temporary = join(parent, `${UNFINISHED_COPY}${basename(destination)}-${randomUUID()}`);
  await using unfinished = new UnfinishedPath(temporary);
  const copy = new TreeCopy(source, temporary, options, signal);
  await copy.run();
  signal?.throwIfAborted();
  await rename(temporary, destination);
  unfinished.keep();
  if (options.durable) {
    await using named = new UnfinishedPath(destination);
    await syncDirectory(parent);
    named.keep();
  }
  return copy.cost;
}

interface CopiedDirectory {
  readonly path: string;
  readonly stats: BigIntStats;
}

class TreeCopy {
  private reflinks = true;
  private files = 0;
  private copiedBytes = 0;
  private target: BigIntStats | undefined;
  /** Made with all rights, so that they can be filled; inner ones first. */
  private readonly directories: CopiedDirectory[] = [];
  /** By {@link identityOf}, where files with several names went first. */
  private readonly firstNames = new Map<string, string>();

  constructor(
    private readonly source: string,
    private readonly destination: string,
    private readonly options: DirectoryCopyOptions,
    private readonly signal: AbortSignal | undefined,
  ) {}

  get cost(): DirectoryCopyCost {
    return { files: this.files, copiedBytes: this.copiedBytes, reflinked: this.reflinks };
  }

  async run(): Promise<void> {
    await this.copyTree([], await look(this.source));
    for (const { path, stats } of this.directories) {
      this.signal?.throwIfAborted();
      // Opened before its mode may forbid it.
      await using handle = await open(path, 'r');
      await copyAttributes(stats, path);
      if (this.options.durable) await handle.sync();
    }
  }

  /** @param names from the root of the tree; none is the root itself */
  private async copyTree(names: readonly string[], stats: BigIntStats): Promise<void> {
    const from = join(this.source, ...names);
    const path = join(this.destination, ...names);
    if (!stats.isDirectory()) throw changed(from, 'is not a directory');
    if (this.target !== undefined && identityOf(stats) === identityOf(this.target))
      throw InvalidInput.field('destination', `must not be in the directory that is copied: ${this.source}`);
    await mkdir(path, { mode: 0o700 });
    this.target ??= await lstat(path, { bigint: true });
    for (const name of await unlessChanged(from, readdir(from))) {
      this.signal?.throwIfAborted();
      const atTop = names.length === 0;
      if (TRANSIENT.some((ending) => name.endsWith(ending)) || (atTop && this.options.exclude?.includes(name) === true))
        continue;
      await this.copyEntry([...names, name]);
    }
    // Its entries were found by its name.
    if (identityOf(await look(from)) !== identityOf(stats)) throw changed(from, 'was replaced');
    this.directories.push({ path, stats });
  }

  private async copyEntry(names: readonly string[]): Promise<void> {
    const from = join(this.source, ...names);
    const stats = await look(from);
    if (stats.isSocket()) return;
    if (stats.isDirectory()) {
      if (names.length > 1 || names[0] !== LOGS) await this.copyTree(names, stats);
    } else if (stats.isFile()) await this.copyFile(names, stats);
    else if (stats.isSymbolicLink()) await this.copyLink(names, stats);
    else throw notCopyable(from, stats);
  }

  private async copyFile(names: readonly string[], stats: BigIntStats): Promise<void> {
    const path = join(this.source, ...names);
    const destination = join(this.destination, ...names);
    const firstName = this.firstNames.get(identityOf(stats));
    if (firstName !== undefined) {
      await link(firstName, destination);
    } else {
      // O_NONBLOCK: a FIFO that took its place would wait for a writer. No effect on a file.
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      await using handle = await unlessChanged(path, open(path, flags));
      if (identityOf(await handle.stat({ bigint: true })) !== identityOf(stats)) throw changed(path, 'was replaced');
      const options = { reflink: this.reflinks, durable: this.options.durable };
      const { reflinked, copiedBytes } = await copyOpenFile({ handle, path }, destination, options, this.signal);
      const now = await handle.stat({ bigint: true });
      if (now.size !== stats.size || now.mtimeNs !== stats.mtimeNs) throw changed(path, 'was written to');
      // The answer for one file is the filesystem's for all: it need not be asked again.
      this.reflinks = reflinked;
      this.copiedBytes += copiedBytes;
      if (stats.nlink > 1n) this.firstNames.set(identityOf(stats), destination);
    }
    this.files++;
  }

  private async copyLink(names: readonly string[], stats: BigIntStats): Promise<void> {
    const from = join(this.source, ...names);
    const path = join(this.destination, ...names);
    const target = await unlessChanged(from, readlink(from));
    await assertLinkStaysInside(this.source, names.slice(0, -1), basename(from), target);
    await symlink(target, path);
    await copyAttributes(stats, path);
  }
}

async function assertFree(destination: string): Promise<void> {
  try {
    await lstat(destination);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw new AlreadyExists(`cannot copy to ${destination}: it is there already`, {
    reason: 'DESTINATION_EXISTS',
    metadata: { path: destination },
  });
}

/** One file system object, whatever it is called. The type belongs to it: inode numbers are used again. */
const identityOf = ({ dev, ino, mode }: BigIntStats): string =>
  `${String(dev)}:${String(ino)}:${String(mode & BigInt(constants.S_IFMT))}`;

const look = (path: string): Promise<BigIntStats> => unlessChanged(path, lstat(path, { bigint: true }));

/** What is said of a name that is gone, or is another kind of thing than a moment ago. */
const OTHER_THING = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EINVAL']);

async function unlessChanged<Value>(path: string, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (error) {
    const code = errnoOf(error) ?? '';
    if (!OTHER_THING.has(code)) throw error;
    throw changed(path, code === 'ENOENT' ? 'is gone' : 'has become another kind of file', error);
  }
}

function changed(path: string, what: string, cause?: unknown): Corrupt {
  return new Corrupt(`${path} ${what}: nothing may change in a directory while it is copied`, {
    reason: 'FILE_CHANGED',
    metadata: { path },
    cause,
  });
}

function notCopyable(path: string, stats: BigIntStats): InvalidState {
  const type = stats.isFIFO() ? 'FIFO' : stats.isBlockDevice() ? 'block device' : 'character device';
  return new InvalidState(`${path} is a ${type}: only files, directories and links can be copied`, {
    reason: 'FILE_NOT_COPYABLE',
    metadata: { path, type },
  });
}
