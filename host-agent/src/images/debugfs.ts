import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import type { ByteString } from './tar/byte-string.js';
import { fullDisk, runTool } from './tool.js';

/** First inode that is not reserved: lost+found. */
const FIRST_INODE = 11;
export const ROOT_INODE = 2;

/** Of some 50 bytes each, all echoed. */
const COMMANDS_PER_RUN = 100_000;
/** Its answers to so many of the longest questions stay below what a program's output may be. */
const QUESTIONS_PER_RUN = 10_000;

export interface Debugfs {
  readonly disk: string;
  /** Folder for its scripts; exists. */
  readonly scratch: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs commands that change the disk, each one or several lines. Between two of them a folder changed into (`cd`) may be forgotten.
 * @throws Capacity when the host's disk is full, else Corrupt when it says anything: it ends with 0 whatever happened
 */
export async function changeByDebugfs(
  { disk, scratch, env, signal }: Debugfs,
  commands: Iterable<string>,
): Promise<void> {
  const script = join(scratch, 'debugfs-changes');
  const run = async (batch: readonly string[]): Promise<void> => {
    await writeFile(script, batch.map((command) => `${command}\n`).join(''), 'latin1');
    const { stderr } = await runTool('debugfs', ['-w', '-f', script, disk], { ...(env && { env }), signal });
    // On stderr it says its version and what went wrong; nothing else.
    const complaints = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('debugfs 1.'));
    if (complaints.length > 0)
      throw (
        fullDisk('debugfs', stderr) ??
        new Corrupt(`debugfs on ${disk}: ${complaints.slice(0, 3).join('; ')}`, { reason: 'DISK_INVALID' })
      );
  };
  let batch: string[] = [];
  for (const command of commands) {
    batch.push(command);
    if (batch.length < COMMANDS_PER_RUN) continue;
    await run(batch);
    batch = [];
  }
  if (batch.length > 0) await run(batch);
}

/**
 * Answers to questions, in order; empty where it finds nothing.
 * @param read what of each is wanted: of a disk of many files all of them would be hundreds of megabytes
 */
export async function askDebugfs<Wanted>(
  { disk, scratch, signal }: Debugfs,
  questions: readonly string[],
  read: (answer: string) => Wanted,
): Promise<Wanted[]> {
  const wanted: Wanted[] = [];
  for (let from = 0; from < questions.length; from += QUESTIONS_PER_RUN) {
    const asked = questions.slice(from, from + QUESTIONS_PER_RUN);
    const script = join(scratch, 'debugfs-questions');
    await writeFile(script, asked.map((question) => `${question}\n`).join(''), 'latin1');
    const { stdout } = await runTool('debugfs', ['-f', script, disk], { signal });
    // It echoes each command behind its prompt.
    const answers = stdout.split(/^debugfs: /m).slice(1);
    asked.forEach((_, index) => wanted.push(read(answers[index] ?? '')));
  }
  return wanted;
}

/** A name, of bytes, as one word of a command without line breaks: in quotes a quote is written twice. */
export const inQuotes = (name: ByteString): string => `"${name.replaceAll('"', '""')}"`;

/** Inodes in use: the root, then from lost+found on without gaps, which is how mke2fs numbers them. */
export async function usedInodes({ disk, signal }: Pick<Debugfs, 'disk' | 'signal'>): Promise<number[]> {
  const header = await runTool('debugfs', ['-R', 'show_super_stats -h', disk], { signal });
  const used = countIn(header.stdout, 'Inode count') - countIn(header.stdout, 'Free inodes');
  return [ROOT_INODE, ...Array.from({ length: used - FIRST_INODE + 1 }, (_, index) => index + FIRST_INODE)];
}

export function countIn(text: string, label: string): number {
  const value = new RegExp(`^${label}: +(\\d+)$`, 'm').exec(text)?.[1];
  if (value === undefined) throw new Corrupt(`debugfs shows no "${label}"`, { reason: 'DISK_INVALID' });
  return Number(value);
}
