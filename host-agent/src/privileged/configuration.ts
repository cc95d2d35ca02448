import { closeSync, readFileSync } from 'node:fs';
import { isAbsolute, join, normalize } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import { parseSubnet, type Subnet } from '../network/host/subnet.js';
import { MAX_NAME, isDataset } from './dataset-name.js';
import { quoted, refusal } from './refusal.js';
import { openToRead } from './root-owned-file.js';

/** What root allows, from a file that callers have no influence on. */
export interface Configuration {
  /** Below it everything is the daemon's; undefined where it has none. */
  readonly zfsDataset: string | undefined;
  /** Of the daemon's bridge; undefined where it makes none by the helper. */
  readonly networkSubnet: Subnet | undefined;
  /** The daemon's, absolute. */
  readonly stateDirectory: string;
  /** What volumes are filled from is below it, absolute. */
  readonly imagesDirectory: string;
  /** The file that calls are written to; undefined for the usual one. */
  readonly log: string | undefined;
}

const KEYS = ['zfs_dataset', 'network_subnet', 'state_directory', 'images_directory', 'log'];

/** @throws InvalidInput when it is not root's alone, or says something else than it may */
export function readConfiguration(path: string): Configuration {
  const fd = openToRead(path);
  try {
    return parseConfiguration(readFileSync(fd, 'utf8'), path);
  } finally {
    closeSync(fd);
  }
}

function parseConfiguration(text: string, path: string): Configuration {
  const wrong = (what: string): Error => refusal(`${path}: ${what}`);
  const content = parseJson(text, wrong);
  const strange = Object.keys(content).find((key) => !KEYS.includes(key));
  if (strange !== undefined) throw wrong(`${quoted(strange)} is none of its keys, ${KEYS.join(', ')}`);
  const { zfs_dataset: zfsDataset, network_subnet: subnet, state_directory: stateDirectory, log } = content;
  const { images_directory: images } = content;
  if (zfsDataset !== undefined && !isDatasetOfRoot(zfsDataset))
    throw wrong('zfs_dataset has to be the name of a dataset, like "tank/offshoot", or left out');
  if (!isPath(stateDirectory)) throw wrong('state_directory has to be an absolute path, like "/var/lib/offshoot"');
  if (log !== undefined && !isPath(log)) throw wrong('log has to be the absolute path of a file, or left out');
  if (images !== undefined && !isPath(images))
    throw wrong('images_directory has to be an absolute path, or left out for images/ in the state directory');
  return {
    zfsDataset,
    networkSubnet: subnet === undefined ? undefined : subnetOf(subnet, wrong),
    stateDirectory,
    imagesDirectory: images ?? join(stateDirectory, 'images'),
    log,
  };
}

const isDatasetOfRoot = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= MAX_NAME && isDataset(value);

function subnetOf(value: unknown, wrong: (what: string) => Error): Subnet {
  try {
    return parseSubnet(typeof value === 'string' ? value : JSON.stringify(value));
  } catch (error) {
    throw wrong(`network_subnet may be left out, and else is as the daemon's ${messageOf(error)}`);
  }
}

function parseJson(text: string, wrong: (what: string) => Error): Readonly<Record<string, unknown>> {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw wrong(`is no JSON: ${messageOf(error)}`);
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content))
    throw wrong('has to be one JSON object');
  return { ...content };
}

/** Absolute, printable, and the shortest of its spellings: without `.`, `..`, doubled or trailing slashes. */
export const isPath = (value: unknown): value is string =>
  typeof value === 'string' &&
  isAbsolute(value) &&
  normalize(value) === value &&
  !value.endsWith('/') &&
  /^[\x20-\x7e]+$/.test(value);
