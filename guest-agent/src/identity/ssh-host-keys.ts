import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf, messageOf } from '@offshoot/shared/errors.js';
import { log } from '../log.js';

const run = promisify(execFile);
const KEY_FILE = /^ssh_host_([a-z0-9]{1,16})_key$/;
/** An RSA key of 3072 bits takes seconds under emulation. */
const KEYGEN_LIMIT_MS = 60_000;

/** The keys an SSH server proves its identity with; none where there is no such server. */
export class SshHostKeys {
  private removed: readonly string[] = [];

  constructor(private readonly root = '/') {}

  remove(): boolean {
    const folder = join(this.root, 'etc/ssh');
    this.removed = filesOf(folder).flatMap((file) => KEY_FILE.exec(file)?.[1] ?? []);
    for (const kind of this.removed)
      for (const ending of ['', '.pub', '-cert.pub'])
        rmSync(join(folder, `ssh_host_${kind}_key${ending}`), { force: true });
    return this.removed.length > 0;
  }

  async renew(): Promise<void> {
    const kinds = this.removed;
    this.removed = [];
    for (const kind of kinds) {
      const file = join(this.root, `etc/ssh/ssh_host_${kind}_key`);
      await run('ssh-keygen', ['-q', '-t', kind, '-N', '', '-f', file], { timeout: KEYGEN_LIMIT_MS }).catch(
        (error: unknown) => {
          log(`no new ${kind} host key: ${messageOf(error)}`);
        },
      );
    }
    if (kinds.length > 0) this.tellServer();
  }

  /** A server that runs has the old keys in its memory: it reads them again at SIGHUP. */
  private tellServer(): void {
    try {
      const pid = readFileSync(join(this.root, 'run/sshd.pid'), 'latin1').trim();
      if (/^[1-9][0-9]{0,9}$/.test(pid)) process.kill(Number(pid), 'SIGHUP');
    } catch (error) {
      if (!['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '')) log(`sshd: ${messageOf(error)}`);
    }
  }
}

function filesOf(folder: string): string[] {
  // Asked first: to catch the error of a folder that is not there, the common case, costs an emulated fork 10 ms.
  if (!existsSync(folder)) return [];
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
