import { InvalidInput } from '@offshoot/shared/errors.js';
import { monotonicFactory } from 'ulid';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** ULID of an instance: sortable by creation, never used again. */
export type InstanceId = Branded<'InstanceId'>;
/** ULID of a snapshot, likewise. */
export type SnapshotId = Branded<'SnapshotId'>;
/** Content key of an image: hex digits. */
export type ImageId = Branded<'ImageId'>;

const next = monotonicFactory();
const ULID = /^[0-9a-hjkmnp-tv-z]{26}$/;

/** A new id, lower case because it also names folders, sockets and hosts. */
export const mintInstanceId = (): InstanceId => next().toLowerCase() as InstanceId;

export const mintSnapshotId = (): SnapshotId => next().toLowerCase() as SnapshotId;

/** @throws InvalidInput unless `text` is an instance id */
export const parseInstanceId = (text: string): InstanceId => parseUlid(text) as InstanceId;

/** @throws InvalidInput unless `text` is a snapshot id */
export const parseSnapshotId = (text: string): SnapshotId => parseUlid(text) as SnapshotId;

function parseUlid(text: string): string {
  if (!ULID.test(text))
    throw InvalidInput.field('id', `must be 26 characters of a ULID in lower case, got ${JSON.stringify(text)}`);
  return text;
}

/** @throws InvalidInput unless `text` is an image id */
export function parseImageId(text: string): ImageId {
  if (!/^[0-9a-f]{64}$/.test(text))
    throw InvalidInput.field('image_id', `must be 64 hex digits, got ${JSON.stringify(text)}`);
  return text as ImageId;
}
