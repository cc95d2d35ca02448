import { execa } from 'execa';
import { Aborted, Capacity, Corrupt, OffshootError, Unsupported } from '@offshoot/shared/errors.js';
import type { Readable } from 'node:stream';

/** Programs the image build runs, and the Debian and Ubuntu package each is in. */
export const PACKAGE_OF_TOOL = {
  'apt-cache': 'apt',
  'apt-get': 'apt',
  debugfs: 'e2fsprogs',
  depmod: 'kmod',
  dpkg: 'dpkg',
  'dpkg-deb': 'dpkg',
  e2fsck: 'e2fsprogs',
  ldd: 'libc-bin',
  lz4: 'lz4',
  'mkfs.ext4': 'e2fsprogs',
  modprobe: 'kmod',
  resize2fs: 'e2fsprogs',
  skopeo: 'skopeo',
  strip: 'binutils',
  tar: 'tar',
  xz: 'xz-utils',
  zstd: 'zstd',
} as const;

export type ToolName = keyof typeof PACKAGE_OF_TOOL;

export interface ToolOptions {
  readonly signal?: AbortSignal | undefined;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A program ended otherwise than with 0, for callers that know what a particular status means; for all others what it was
 * given, or what is installed, is not as it must be.
 */
export class ToolFailure extends Corrupt {
  constructor(
    readonly tool: string,
    readonly exitCode: number | undefined,
    /** Whole. */
    readonly stderr: string,
    /** What it said in all, in the order in which the end says most. */
    said = stderr,
  ) {
    super(`${tool} ended with ${describeEnd(exitCode)}: ${lastLines(said)}`, {
      reason: 'TOOL_FAILED',
      metadata: { tool, exit_code: String(exitCode ?? '') },
    });
  }
}

/**
 * Runs a program to its end. The signal ends it.
 * @throws Unsupported (TOOL_MISSING) naming the package, Capacity for a full disk, Aborted, else ToolFailure
 */
export async function runTool(tool: ToolName, args: readonly string[], options: ToolOptions = {}): Promise<ToolOutput> {
  return runProgram(tool, args, options, PACKAGE_OF_TOOL[tool]);
}

/** As {@link runTool} for a program by its path. */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ToolOptions = {},
  packageName?: string,
): Promise<ToolOutput> {
  const result = await execa(program, args, {
    ...execution(options),
    stdin: 'ignore',
    maxBuffer: 64 * 2 ** 20,
    reject: false,
  });
  if (!result.failed) return { stdout: result.stdout, stderr: result.stderr };
  // e2fsck says what is wrong on its standard output, and which version it is on the other.
  const { stdout, stderr, exitCode, shortMessage, cause, code } = result;
  const ended = { stderr, said: `${stdout}\n${stderr}`, exitCode, shortMessage, cause, code };
  throw failureOf(program, ended, options.signal, packageName);
}

/**
 * What a program writes, as it does. Left early, it is ended.
 * @param input for its standard input; without, it has none
 * @throws as {@link runTool}, at its end
 */
export async function* streamTool(
  tool: ToolName,
  args: readonly string[],
  { input, ...options }: ToolOptions & { readonly input?: Readable } = {},
): AsyncGenerator<Buffer, void, undefined> {
  const left = new AbortController();
  const { signal } = options;
  const child = execa(tool, args, {
    ...execution({ ...options, signal: signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]) }),
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
    buffer: { stdout: false },
    encoding: 'buffer',
    reject: false,
  });
  // What ends the reading of what it says is how it ended, below; not that its output did.
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const result = await child;
    if (input?.errored) throw input.errored;
    if (result.failed) {
      const { exitCode, shortMessage, cause, code } = result;
      // Nothing at all of a program that could not be started.
      const stderr = result.stderr instanceof Uint8Array ? Buffer.from(result.stderr).toString() : '';
      throw failureOf(tool, { stderr, exitCode, shortMessage, cause, code }, signal, PACKAGE_OF_TOOL[tool]);
    }
  } finally {
    left.abort();
    input?.destroy();
    await child;
  }
}

const execution = ({ signal, cwd, env }: ToolOptions) => ({
  ...(signal && { cancelSignal: signal }),
  ...(cwd !== undefined && { cwd }),
  // Ordinary users have no sbin in their PATH, where mkfs.ext4 and depmod are. Messages are parsed: C locale.
  env: { ...env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin` },
});

interface FailedRun {
  readonly stderr: string;
  /** On both outputs, where the other one is for people. */
  readonly said?: string;
  readonly exitCode?: number | undefined;
  readonly shortMessage?: string | undefined;
  readonly cause?: unknown;
  readonly code?: string | undefined;
}

function failureOf(
  program: string,
  { stderr, said = stderr, exitCode, shortMessage, cause, code }: FailedRun,
  signal: AbortSignal | undefined,
  packageName: string | undefined,
): OffshootError {
  if (signal?.aborted === true) return abortedBy(signal);
  if (code === 'ENOENT' && packageName !== undefined)
    return new Unsupported(`${program} is not installed: install the package ${packageName} (make setup does)`, {
      reason: 'TOOL_MISSING',
      metadata: { tool: program, package: packageName },
      cause,
    });
  return (
    fullDisk(program, said, cause) ??
    new ToolFailure(program, exitCode, stderr, said.trim() === '' ? shortMessage : said)
  );
}

/** What to throw where a program says that it could not write for want of room; e2fsprogs also says so of the block that fits in part. */
export function fullDisk(program: string, said: string, cause?: unknown): Capacity | undefined {
  if (!/No space left on device|Disk quota exceeded|resulted in short write/.test(said)) return undefined;
  return new Capacity(`the disk is full: ${program}: ${lastLines(said)}`, { reason: 'DISK_FULL', cause });
}

/** What to throw for a signal that has fired: its reason when that is one of ours (a deadline), else Aborted. */
export function abortedBy(signal: AbortSignal): OffshootError {
  if (signal.reason instanceof OffshootError) return signal.reason;
  return new Aborted('the image import was cancelled', { reason: 'CANCELLED', cause: signal.reason });
}

const describeEnd = (exitCode: number | undefined): string =>
  exitCode === undefined ? 'a signal' : `status ${String(exitCode)}`;

const lastLines = (text: string): string =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-5)
    .join('; ');
