import { closeSync, constants, fstatSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Where guest software finds it: in a tmpfs, so that no disk ever has it. */
export const CREDENTIAL_FILE = '/run/offshoot/credential';

/**
 * The secret by which software in this VM shows which instance it is. Empty from the moment a VM is made ready for a capture
 * until it is given its next one, so whoever uses it reads it each time. Root's, mode 0600.
 */
export class CredentialFile {
  constructor(private readonly path = CREDENTIAL_FILE) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  }

  /** @param credential always of the same length, written with one call: a reader finds the old one, the new one, or none */
  set(credential: Buffer): void {
    write(this.path, credential);
  }

  /** Byte for byte over what is there: a page that is only given back keeps what was in it, for every capture to find. */
  wipe(): void {
    write(this.path, undefined);
  }

  rehearse(credential: Buffer): void {
    const beside = `${this.path}.rehearsal`;
    write(beside, credential);
    write(beside, undefined);
    rmSync(beside);
  }
}

/** @param content none when undefined */
function write(path: string, content: Buffer | undefined): void {
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    const { size } = fstatSync(file);
    writeSync(file, content ?? Buffer.alloc(size), 0, undefined, 0);
    if (content === undefined) ftruncateSync(file, 0);
  } finally {
    closeSync(file);
  }
}
