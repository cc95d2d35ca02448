import { createHash, randomBytes } from 'node:crypto';
import type { InstanceId } from '../domain/ids.js';

/** 256 bits: nobody guesses one, and so its hash can be looked up as it is. */
const CREDENTIAL_BYTES = 32;

/**
 * The secrets by which software in the VMs shows which instance it is. Nobody keeps one: the daemon has hashes, in memory
 * alone, because one that begins gives every VM it adopts a new credential with its thaw.
 */
export class InstanceCredentials {
  private readonly owners = new Map<string, InstanceId>();

  /** That of one VM: none until the first is issued. */
  of(id: InstanceId): InstanceCredential {
    let valid: string | undefined;
    const revoke = (): void => {
      if (valid !== undefined) this.owners.delete(valid);
      valid = undefined;
    };
    return {
      issue: () => {
        revoke();
        const credential = Buffer.from(randomBytes(CREDENTIAL_BYTES).toString('base64url'), 'latin1');
        valid = digestOf(credential);
        this.owners.set(valid, id);
        return credential;
      },
      isValid: (credential) => valid !== undefined && valid === digestOf(credential),
      revoke,
    };
  }

  /** Whose it is; undefined for one that was revoked or never issued. */
  ownerOf(credential: string): InstanceId | undefined {
    return this.owners.get(digestOf(credential));
  }
}

/** The credential of one VM. */
export interface InstanceCredential {
  /** A new one, 43 characters of base64url; the one before is not valid any more. For one guest to have, and to be wiped. */
  issue(): Buffer;
  /** Whether it is the one that was issued last, and not revoked. */
  isValid(credential: Buffer): boolean;
  /** Before each capture: what a snapshot may hold opens nothing. */
  revoke(): void;
}

const digestOf = (credential: string | Buffer): string => createHash('sha256').update(credential).digest('hex');
