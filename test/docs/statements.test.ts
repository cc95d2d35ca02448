import { status } from '@grpc/grpc-js';
import { EXIT_CODES, exitCodeOfStatus } from '@offshoot/host-agent/cli/exit-codes.js';
import { SETTINGS, SETTING_KEYS, environmentVariable, flagName } from '@offshoot/host-agent/config/settings.js';
import { STATUS_OF_KIND } from '@offshoot/host-agent/grpc/status-table.js';
import { FRAME_LAYOUT } from '@offshoot/shared/mailbox/frame-layout.js';
import type { ErrorKind } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { readPages } from './page.js';
import { codesIn, sourcesIn, tableRows } from './source-text.js';

const page = (path: string): string => readPages().find((each) => each.path === path)!.text;
const daemonSources = sourcesIn('host-agent/src', 'shared/src');
const everything = [...daemonSources.values(), ...sourcesIn('bin', 'guest-agent/src').values()].join('\n');

/** Reasons a caller of the API never sees: they belong to the daemon's start, or are turned into another one. */
const NOT_FOR_CALLERS = new Set([
  'ACK_ADDRESS_UNUSABLE',
  'CONFIGURATION_INVALID',
  'CONFIGURATION_UNREADABLE',
  'DESTINATION_EXISTS', // ids are new
  'FILE_UNREADABLE', // of the command line's own
  'HELPER_CALL_REFUSED', // of the helper's own
  'HELPER_CAPABILITY',
  'HELPER_VERSION',
  'MAILBOX_DUPLICATE', // found as DUPLICATE_MAILBOX before
  'MEMORY_ANONYMOUS', // of a VM booted cold, into which nothing is delivered
  'MEMORY_FILE_EXISTS',
  'MEMORY_NOT_PRIVATE',
  'NETWORK_SETUP_FAILED',
  'NFT_MISSING',
  'NFT_REFUSED',
  'SUBNET_TAKEN',
  'ZFS_DATASET_MISSING',
  'ZFS_DATASET_TAKEN',
]);

/** Kinds that ask something of the caller; the others are for people to read. */
const CALLERS_KINDS: readonly ErrorKind[] = [
  'InvalidInput',
  'NotFound',
  'AlreadyExists',
  'InvalidState',
  'Capacity',
  'Unsupported',
  'Timeout',
];

/** Reasons by the kinds they are thrown as, where that stands right before them. */
function reasonsInCode(): Map<string, Set<ErrorKind>> {
  const found = new Map<string, Set<ErrorKind>>();
  const kinds = Object.keys(STATUS_OF_KIND).join('|');
  for (const text of daemonSources.values())
    for (const [, kind, reason = ''] of text.matchAll(
      new RegExp(`new (${kinds})\\((?:(?!new (?:${kinds})\\()[^;])*?reason: '([A-Z_]+)'`, 'g'),
    ))
      found.set(reason, (found.get(reason) ?? new Set()).add(kind as ErrorKind));
  return found;
}

describe("the API page's table of errors", () => {
  let statusCell = '';
  const rows = tableRows(page('docs/scheduler.md'), '## Errors').flatMap(([first = '', reasons = '']) => {
    if (first !== '') statusCell = first;
    const [, name = '', exitCode = ''] = /^([A-Z_]+) \((\d+)\)$/.exec(statusCell) ?? [];
    return codesIn(reasons)
      .filter((code) => /^[A-Z]/.test(code))
      .map((reason) => ({ reason, name: name as keyof typeof status, exitCode: Number(exitCode) }));
  });
  const inCode = reasonsInCode();

  it('has only reasons the daemon gives', () => {
    const unknown = rows.filter(({ reason }) => !everything.includes(`'${reason}'`) && reason !== 'CALL_DEADLINE');
    expect(unknown).toEqual([]);
  });

  it('has every reason a caller can branch on', () => {
    expect(inCode.size).toBeGreaterThan(60);
    const documented = new Set(rows.map(({ reason }) => reason));
    const missing = [...inCode]
      .filter(([reason, kinds]) => !documented.has(reason) && CALLERS_KINDS.some((kind) => kinds.has(kind)))
      .map(([reason]) => reason);
    expect(missing.filter((reason) => !NOT_FOR_CALLERS.has(reason))).toEqual([]);
  });

  it('gives each the status it has', () => {
    for (const { reason, name } of rows) {
      const kinds = inCode.get(reason);
      if (kinds === undefined || name === 'CANCELLED') continue;
      const statuses = Array.from(kinds, (kind) => status[STATUS_OF_KIND[kind]]);
      expect(statuses, reason).toContain(name);
    }
  });

  it('gives each status the exit code it has', () => {
    for (const { name, exitCode } of rows)
      expect(exitCode, name).toBe(name === 'CANCELLED' ? EXIT_CODES.interrupted.code : exitCodeOfStatus(status[name]));
  });
});

describe("the operators' page", () => {
  it('has every setting with its spellings and its default', () => {
    const rows = tableRows(page('docs/operating.md'), '## Configuration').map((cells) => cells.slice(0, 4));
    const expected = SETTING_KEYS.map((key) => {
      const { default: value } = SETTINGS[key];
      return [key, environmentVariable(key), flagName(key), String(value)].map((cell) =>
        cell === '' ? '' : `\`${cell}\``,
      );
    });
    expect(rows).toEqual(expected);
  });

  it('quotes messages that the programs do give', () => {
    const rows = tableRows(page('docs/operating.md'), '## When something does not work');
    const quotations = rows.flatMap(([messages = '']) => codesIn(messages));
    expect(quotations.length).toBeGreaterThan(20);
    const pieces = quotations.flatMap((quotation) => quotation.split('…').map((text) => text.trim()));
    expect(pieces.filter((piece) => !everything.includes(piece))).toEqual([]);
  });
});

describe("the guest authors' page", () => {
  const text = page('docs/mailboxes.md');

  it('has the frame as it is', () => {
    const rows = tableRows(text, '## The frame').map(([offset, size]) => [Number(offset), Number(size)]);
    expect(rows).toEqual(Object.values(FRAME_LAYOUT).map(({ offset, size }) => [offset, size]));
  });

  it('has only reasons the agent gives', () => {
    const reasons = tableRows(text, '## From a program: the local socket').flatMap(([first = '']) => codesIn(first));
    const named = reasons.filter((code) => /^[A-Z_]+$/.test(code));
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((reason) => !everything.includes(`'${reason}'`))).toEqual([]);
  });
});
