import { chown, link, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidState, errnoOf } from '@offshoot/shared/errors.js';
import { unlessMissing } from '../../../os/unless-missing.js';
import type { MachineSpec } from '../../../ports/driver.js';
import { captureName, jailPaths } from './jail-contents.js';

type Folders = Pick<MachineSpec, 'directory' | 'runDirectory'>;

/** Files that exist and that a VMM is to write. Absolute paths here, the VMM's own names in {@link LentFiles.names}. */
interface Files {
  readonly stateFile: string;
  readonly memoryFile: string;
}

interface Loan {
  readonly path: string;
  readonly link: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Lets a VMM write files, jailed or not, whichever its daemon started it as: one in a jail has a folder into which they are
 * linked, and its user owns them meanwhile. Disposing it takes the links away, and the files back.
 */
export class LentFiles implements AsyncDisposable {
  private constructor(
    /** What the VMM is told. */
    readonly names: Files,
    private readonly loans: readonly Loan[],
  ) {}

  /** @throws InvalidState `JAIL_FILE_DENIED` for files on another file system than the instance's folder */
  static async to(spec: Folders, files: Files): Promise<LentFiles> {
    const { captures } = jailPaths(spec);
    if ((await unlessMissing(stat(captures))) === undefined) return new LentFiles(files, []);
    // The jailer has given this folder to the jail's user.
    const { uid } = await stat(spec.runDirectory);
    const names = { stateFile: 'device-state', memoryFile: 'memory' } as const;
    const loans: Loan[] = [];
    const lent = new LentFiles(
      { stateFile: captureName(names.stateFile), memoryFile: captureName(names.memoryFile) },
      loans,
    );
    try {
      for (const key of ['stateFile', 'memoryFile'] as const) {
        const path = files[key];
        const loan = { path, link: join(captures, names[key]), ...(await ownerOf(path)) };
        await rm(loan.link, { force: true }); // of a daemon that was killed
        loans.push(loan);
        await linkInto(path, loan.link);
        await chown(path, uid, loan.gid);
      }
      return lent;
    } catch (error) {
      await lent[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { path, link: name, uid, gid } of this.loans) {
      await rm(name, { force: true });
      await unlessMissing(chown(path, uid, gid));
    }
  }
}

async function ownerOf(path: string): Promise<{ uid: number; gid: number }> {
  const { uid, gid } = await stat(path);
  return { uid, gid };
}

async function linkInto(path: string, name: string): Promise<void> {
  try {
    await link(path, name);
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw error;
    throw new InvalidState(`${path} must be on the same file system as ${name}, by which the jailed VMM writes it`, {
      reason: 'JAIL_FILE_DENIED',
      metadata: { path },
      cause: error,
    });
  }
}
