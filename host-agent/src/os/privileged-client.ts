import { stat } from 'node:fs/promises';
import { execa } from 'execa';
import { Unreachable, Unsupported } from '@offshoot/shared/errors.js';
import { EXIT, parseFailureLine, type Capability } from '../privileged/contract.js';

/**
 * A question is answered at once, or whatever answers is not the helper; milliseconds. Where the host's name does not resolve sudo
 * may first wait for name servers, 10 s as they are asked by default.
 */
const QUESTION_LIMIT_MS = 30_000;

/** Write permission of the group and of everybody else (stat(2)). */
const WRITABLE_BY_OTHERS = 0o022;

/** What each thing the helper can do takes, besides the line in its configuration that allows it. */
const TAKES: Readonly<Record<Capability, string>> = {
  zfs: 'the package zfsutils-linux, and zfs_dataset in its configuration',
  network: 'the package nftables, the kernel module tun, and network_subnet in its configuration',
};

/** What the helper ran, or did itself, ended with a message. */
export class PrivilegedProgramFailed extends Error {
  /** Why, where the helper did it itself: machine-readable unless it was the kernel that failed, and for people. */
  readonly failure: { readonly reason: string | undefined; readonly message: string } | undefined;

  constructor(
    call: readonly string[],
    /** Whole. */
    readonly stderr: string,
  ) {
    super(`${call.join(' ')}: ${stderr.trim()}`);
    this.name = 'PrivilegedProgramFailed';
    this.failure = parseFailureLine(stderr);
  }
}

/** What root does for a daemon that is not root: the helper of privileged/, called by sudo. */
export class PrivilegedClient {
  /** @param carrier the command by which root runs the helper, without a question to anybody */
  constructor(
    readonly helper: string,
    private readonly carrier: readonly [string, ...string[]] = ['sudo', '-n'],
  ) {}

  /**
   * Has the helper do what it is called for, to its end: nobody but root may end what root runs.
   * @returns what it printed, without the last line end
   * @throws PrivilegedProgramFailed; Unsupported when it refuses or has no such program; Unreachable when it does not run
   */
  async call(words: readonly string[], timeout = 0): Promise<string> {
    const [program, ...options] = this.carrier;
    const result = await execa(program, [...options, this.helper, ...words], {
      stdin: 'ignore',
      env: { LC_ALL: 'C' },
      reject: false,
      timeout,
    });
    const { stdout, exitCode } = result;
    if (exitCode === EXIT.done) return stdout;
    const stderr = withoutWarnings(result.stderr);
    if (exitCode === EXIT.programFailed) throw new PrivilegedProgramFailed(words, stderr);
    if (exitCode === EXIT.programMissing) throw this.programMissing(words[0] ?? '');
    if (exitCode === EXIT.refused) throw this.refused(stderr);
    const said = result.stderr.trim();
    if (result.timedOut) throw this.unreachable(`it did not answer within ${String(timeout / 1000)} s: ${said}`);
    throw this.unreachable(said === '' ? (result.shortMessage ?? 'it said nothing') : said);
  }

  /**
   * Asks the helper who it is.
   * @param needed what it has to be able to do here
   * @returns its version, and what it can do
   * @throws Unsupported for another version than the daemon's, or when it cannot do what is needed; Unreachable
   */
  async assertUsable(
    version: string,
    needed: readonly Capability[],
  ): Promise<{ readonly version: string; readonly capabilities: readonly string[] }> {
    const theirs = await this.call(['version'], QUESTION_LIMIT_MS);
    if (theirs !== version)
      throw new Unsupported(
        `the privileged helper ${this.helper} is of version ${JSON.stringify(theirs)}, the daemon of ${version}: install both from one release`,
        { reason: 'HELPER_VERSION', metadata: { helper: this.helper, version: theirs } },
      );
    const capabilities = (await this.call(['capabilities'], QUESTION_LIMIT_MS))
      .split('\n')
      .filter((each) => each !== '');
    const missing = needed.filter((each) => !capabilities.includes(each));
    if (missing.length === 0) return { version, capabilities };
    throw new Unsupported(
      `the privileged helper ${this.helper} lacks ${missing.map((each) => `${each}, which takes ${TAKES[each]}`).join('; ')}`,
      { reason: 'HELPER_CAPABILITY', metadata: { helper: this.helper, missing: missing.join(',') } },
    );
  }

  /** Whether nobody but root may write to the helper. @throws system errors */
  async isRootsAlone(): Promise<boolean> {
    const { uid, mode } = await stat(this.helper);
    return uid === 0 && (mode & WRITABLE_BY_OTHERS) === 0;
  }

  private refused(stderr: string): Unsupported {
    return new Unsupported(`the privileged helper ${this.helper} refused: ${stderr.trim()}`, {
      reason: 'HELPER_REFUSED',
      metadata: { helper: this.helper },
    });
  }

  private programMissing(program: string): Unsupported {
    return new Unsupported(`the privileged helper ${this.helper} does not find ${program}, which is not installed`, {
      reason: 'PROGRAM_MISSING',
      metadata: { program },
    });
  }

  private unreachable(why: string): Unreachable {
    const remedy = `sudo has to be installed, and /etc/sudoers.d to have the line "USER ALL=(root) NOPASSWD: ${this.helper}" for the daemon's user`;
    return new Unreachable(
      `the privileged helper ${this.helper} cannot be run by ${this.carrier.join(' ')}: ${why} (${remedy})`,
      { reason: 'HELPER_UNREACHABLE', metadata: { helper: this.helper } },
    );
  }
}

/** What sudo says before it runs the helper all the same, such as that it does not find the host's name, left out. */
const withoutWarnings = (stderr: string): string => stderr.replace(/^(sudo: .*(\n|$))+/, '');
