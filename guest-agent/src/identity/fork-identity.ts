import { CREDENTIAL_LENGTH, CREDENTIAL_PATTERN } from '@offshoot/shared/credential.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { parseGuestIdentity, type GuestIdentity } from '../network/guest-identity.js';

/** All that tells a fork from its source. What is absent stays as it is. */
export interface ForkIdentity extends GuestIdentity {
  readonly hostname?: string;
  readonly machineId?: string;
  /** Random bytes for the kernel's pool, used once. */
  readonly entropy?: Buffer;
  /** Wall clock of the host at delivery, in milliseconds since 1970; may have a fraction. */
  readonly hostTimeMs?: number;
  /** Secret by which software in this VM shows which instance it is; wiped once it is in its file. */
  readonly credential?: Buffer;
}

/** Twice the 256 bits the kernel's generator works with. */
export const ENTROPY_BYTES = 64;
/** One label of RFC 1123: what instances are named by, too. */
const HOSTNAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** As machine-id(5) has it. */
const MACHINE_ID = /^(?!0{32}$)[0-9a-f]{32}$/;
/** A clock outside of these years is a mistake, and one that would break TLS and builds in the guest. */
const [YEAR_2000, YEAR_3000] = [Date.UTC(2000), Date.UTC(3000)];

const refuse = (field: string, expectation: string): InvalidInput =>
  InvalidInput.field(field, expectation, 'FORK_IDENTITY_MALFORMED');

/**
 * Checks a credential without making a string of it, which could not be wiped.
 * @throws InvalidInput
 */
export function parseCredential(value: unknown): Buffer {
  if (!Buffer.isBuffer(value) || value.length !== CREDENTIAL_LENGTH || !value.every(isCredentialByte))
    throw refuse('credential', `must be ${String(CREDENTIAL_LENGTH)} characters of base64url`);
  return value;
}

const CREDENTIAL_BYTES = new Set(
  Array.from({ length: 128 }, (_, byte) => byte).filter((byte) =>
    CREDENTIAL_PATTERN.test(String.fromCharCode(byte).repeat(CREDENTIAL_LENGTH)),
  ),
);
const isCredentialByte = (byte: number): boolean => CREDENTIAL_BYTES.has(byte);

/** Each takes the value of one optional field. @throws InvalidInput naming the field */
const OPTIONAL = {
  hostname: (value: unknown): string => {
    if (typeof value !== 'string' || !HOSTNAME.test(value))
      throw refuse('hostname', 'must be one label of at most 63 lower-case letters, digits and inner hyphens');
    return value;
  },
  machineId: (value: unknown): string => {
    if (typeof value !== 'string' || !MACHINE_ID.test(value))
      throw refuse('machineId', 'must be 32 lower-case hex digits, not all of them 0');
    return value;
  },
  entropy: (value: unknown): Buffer => {
    if (!Buffer.isBuffer(value) || value.length !== ENTROPY_BYTES)
      throw refuse('entropy', `must be ${String(ENTROPY_BYTES)} bytes`);
    return value;
  },
  hostTimeMs: (value: unknown): number => {
    if (typeof value !== 'number' || !(value >= YEAR_2000 && value < YEAR_3000))
      throw refuse('hostTimeMs', 'must be milliseconds since 1970, from the years 2000 to 2999');
    return value;
  },
  credential: parseCredential,
} as const;

const optional = <Field extends keyof typeof OPTIONAL>(
  fields: Map<string, unknown>,
  field: Field,
): { [F in Field]?: ReturnType<(typeof OPTIONAL)[F]> } => {
  const value = fields.get(field);
  fields.delete(field);
  return (value === undefined ? {} : { [field]: OPTIONAL[field](value) }) as {
    [F in Field]?: ReturnType<(typeof OPTIONAL)[F]>;
  };
};

/** Parses exactly what the host may send: these keys, these forms, nothing else. @throws InvalidInput naming the field */
export function parseForkIdentity(value: unknown): ForkIdentity {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw refuse('identity', 'must be an object');
  const fields = new Map<string, unknown>(Object.entries(value));
  const inside = {
    ...optional(fields, 'hostname'),
    ...optional(fields, 'machineId'),
    ...optional(fields, 'entropy'),
    ...optional(fields, 'hostTimeMs'),
    ...optional(fields, 'credential'),
  };
  return { ...parseGuestIdentity(Object.fromEntries(fields)), ...inside };
}
