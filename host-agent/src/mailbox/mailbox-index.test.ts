import { readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Capture } from '../domain/instance.js';
import { MailboxIndex } from './mailbox-index.js';
import { MemoryFile, registrationOf, type TestFrame } from './test-memory.js';

const MIB = 2 ** 20;
const REGIONS = [{ gpa: 0, size: 64 * MIB, fileOffset: 0 }];
const TAKEN_AT = '2025-01-01T00:00:00.000Z';

type TestCapture = Pick<Capture, 'takenAt' | 'memoryFile' | 'memoryStamp' | 'regions' | 'registeredMailboxes'>;

async function captureOf(memory: MemoryFile, registered: readonly TestFrame[]): Promise<TestCapture> {
  return {
    takenAt: TAKEN_AT,
    memoryFile: 'memory',
    memoryStamp: await memory.stamp(),
    regions: memory.regions,
    registeredMailboxes: registered.map(registrationOf),
  };
}

const fileOf = (memory: MemoryFile): string => join(memory.root, 'mailboxes.json');

const indexOf = (memory: MemoryFile, capture: TestCapture): MailboxIndex =>
  new MailboxIndex({ root: memory.root, mailboxIndex: fileOf(memory) }, capture);

async function contentsOf(memory: MemoryFile): Promise<{ registered: unknown[]; scan?: { frames: unknown[] } }> {
  return JSON.parse(await readFile(fileOf(memory), 'utf8')) as Awaited<ReturnType<typeof contentsOf>>;
}

describe('mailbox index', () => {
  it('finds registered mailboxes where the agent said, without searching the memory', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    const frame = { gpa: 3 * MIB };
    await memory.arm(frame, { gpa: 5 * MIB, name: 'unregistered' });
    const lookup = await indexOf(memory, await captureOf(memory, [frame])).lookup(['task']);
    expect(lookup.named('task')).toMatchObject([{ registered: true, segmentAddresses: [3 * MIB], state: 'armed' }]);
    expect((await contentsOf(memory)).scan).toBeUndefined();
  });

  it('searches the memory when a name is not registered, and keeps what it found', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    const registered = { gpa: 3 * MIB };
    await memory.arm(registered, { gpa: 5 * MIB, name: 'other' });
    const index = indexOf(memory, await captureOf(memory, [registered]));
    const lookup = await index.lookup(['task', 'other']);
    expect(lookup.named('other')).toMatchObject([{ registered: false, segmentAddresses: [5 * MIB] }]);
    expect(lookup.named('task')).toMatchObject([{ registered: true }]);
    expect(lookup.armedNames).toEqual(['other', 'task']);
    expect((await contentsOf(memory)).scan?.frames).toHaveLength(2);
  });

  it('takes what was kept, after a restart too, and does not search again', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    await memory.arm({ gpa: MIB });
    const capture = await captureOf(memory, []);
    await indexOf(memory, capture).all();
    const kept = await contentsOf(memory);
    kept.scan!.frames = [{ ...(kept.scan!.frames[0] as object), name: 'from-the-file' }];
    await writeFile(fileOf(memory), JSON.stringify(kept));
    expect(await indexOf(memory, capture).all()).toMatchObject([{ name: 'from-the-file' }]);
  });

  it.each([
    ['another memory file', (json: string) => json.replace(/"inode":"\d+"/, '"inode":"1"')],
    ['a memory file that was written since', (json: string) => json.replace(/"mtimeNs":"\d+"/, '"mtimeNs":"1"')],
    ['a memory file of another size', (json: string) => json.replace(/"size":\d+/, '"size":4096')],
    ['another capture', (json: string) => json.replace(TAKEN_AT, '2024-01-01T00:00:00.000Z')],
    ['another version', (json: string) => json.replace('"version":1', '"version":2')],
    ['nothing one could parse', (json: string) => json.slice(0, json.length / 2)],
    ['frames out of shape', (json: string) => json.replace('"armed"', '"loaded"')],
    ['a nonce with something before it', (json: string) => json.replace('"nonce":"', '"nonce":"x')],
    ['a nonce with something behind it', (json: string) => json.replace(/("nonce":"\w+)/, '$1x')],
    ['a digest with something before it', (json: string) => json.replace('"tokenSha256":"', '"tokenSha256":"x')],
    ['a digest with something behind it', (json: string) => json.replace(/("tokenSha256":"\w+)/, '$1x')],
  ])('does not use a kept index of %s', async (_what, spoil) => {
    await using memory = await MemoryFile.create(REGIONS);
    await memory.arm({ gpa: MIB });
    const capture = await captureOf(memory, []);
    await indexOf(memory, capture).all();
    const json = await readFile(fileOf(memory), 'utf8');
    const spoiled = spoil(json).replace('"name":"task"', '"name":"stale"');
    expect(spoiled).not.toBe(json);
    await writeFile(fileOf(memory), spoiled);
    expect(await indexOf(memory, capture).all()).toMatchObject([{ name: 'task' }]);
    expect(await contentsOf(memory)).toEqual(JSON.parse(json)); // made again
  });

  it('refuses a memory file that is not the captured one', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    const capture = await captureOf(memory, []);
    await truncate(memory.path, 64 * MIB + 4096);
    await expect(indexOf(memory, capture).lookup(['task'])).rejects.toMatchObject({
      kind: 'Corrupt',
      reason: 'MEMORY_FILE_CHANGED',
    });
    await rm(memory.path);
    await expect(indexOf(memory, capture).all()).rejects.toMatchObject({ reason: 'MEMORY_FILE_MISSING' });
  });

  it('refuses a memory file that ends before a registered frame', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    await truncate(memory.path, MIB + 100);
    const capture = await captureOf(memory, [{ gpa: MIB }]);
    await expect(indexOf(memory, capture).lookup(['task'])).rejects.toMatchObject({ reason: 'MEMORY_FILE_TRUNCATED' });
  });

  it('searches once, however many ask at the same time', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    await memory.arm({ gpa: MIB });
    const messages: unknown[] = [];
    const logger = { info: (...line: unknown[]) => messages.push(line) };
    const index = new MailboxIndex(
      { root: memory.root, mailboxIndex: fileOf(memory) },
      await captureOf(memory, []),
      logger as unknown as ConstructorParameters<typeof MailboxIndex>[2],
    );
    await Promise.all([index.all(), index.lookup(['task']), index.lookup(['absent']), index.all()]);
    await index.all();
    expect(messages).toHaveLength(1);
  });

  it('searches for a registered mailbox whose frame is not where the agent said', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    await memory.arm({ gpa: 9 * MIB }, { gpa: 10 * MIB, nonce: 8n });
    const lookup = await indexOf(memory, await captureOf(memory, [{ gpa: 3 * MIB }])).lookup(['task']);
    expect(lookup.named('task')).toMatchObject([{ registered: true, segmentAddresses: [9 * MIB] }]);
  });

  it('searches for the rest of a registered mailbox that is not whole where the agent said', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    const [first, second] = [0, 1].map((segmentIndex) => ({ gpa: (9 + segmentIndex) * MIB, segmentIndex }));
    await memory.arm({ ...first!, segmentCount: 2 }, { ...second!, segmentCount: 2 });
    const capture = await captureOf(memory, [first!]);
    const registeredMailboxes = capture.registeredMailboxes.map((mailbox) => ({
      ...mailbox,
      segmentAddresses: [first!.gpa, 3 * MIB],
    }));
    const lookup = await indexOf(memory, { ...capture, registeredMailboxes }).lookup(['task']);
    expect(lookup.named('task')).toMatchObject([{ registered: true, segmentAddresses: [9 * MIB, 10 * MIB] }]);
  });

  it('prefers the registered nonce to an equal name in a freed page', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    const live = { gpa: 20 * MIB, nonce: 2n };
    await memory.arm({ gpa: MIB }, live);
    const index = indexOf(memory, await captureOf(memory, [live]));
    expect(await index.all()).toMatchObject([{ registered: true, segmentAddresses: [20 * MIB] }]);
  });

  it.each([
    ['outside RAM', 64 * MIB],
    ['beyond every file', 2 ** 52],
    ['off the page', 100],
  ])('survives a registration %s', async (_what, gpa) => {
    await using memory = await MemoryFile.create(REGIONS);
    expect((await indexOf(memory, await captureOf(memory, [{ gpa }])).lookup(['task'])).named('task')).toEqual([]);
  });

  it('keeps no token, and is readable by its owner only', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    const frame = { gpa: MIB, token: 'a-very-secret-token' };
    await memory.arm(frame, { gpa: 2 * MIB, name: 'other', token: 'a-very-secret-token' });
    await indexOf(memory, await captureOf(memory, [frame])).all();
    expect(await readFile(fileOf(memory), 'utf8')).not.toContain('very-secret');
    expect((await stat(fileOf(memory))).mode & 0o777).toBe(0o600);
  });

  it('answers all the same when it cannot be kept', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    await memory.arm({ gpa: MIB });
    const paths = { root: memory.root, mailboxIndex: join(memory.root, 'no-such-folder', 'mailboxes.json') };
    expect(await new MailboxIndex(paths, await captureOf(memory, [])).all()).toHaveLength(1);
  });
});
