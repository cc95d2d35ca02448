import { getEventListeners } from 'node:events';
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { FRAME_LAYOUT as F, FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { tokenFingerprint, writeFrameState } from '@offshoot/shared/mailbox/frame.js';
import { consumeSegments } from '@offshoot/shared/mailbox/segments.js';
import { mapPages } from '../os/libc.js';
import { PageMap } from '../os/page-map.js';
import { ProcessMemory } from '../os/process-memory.js';
import { AttachedMailboxes } from './attached-mailboxes.js';
import { MailboxRoom } from './mailbox-room.js';
import { ProgramOfTest } from './program-of-test.js';

const noPhysicalAddresses = PageMap.own.physicalAddress(mapPages(FRAME_SIZE).address) === undefined;
const openFiles = (): number => readdirSync('/proc/self/fd').length;
const marker = (nonce = 7n) => ({ name: 'task', token: 'tk', nonce });

describe('mailboxes in a program’s own memory', () => {
  let program: ProgramOfTest;
  let room: MailboxRoom;
  let attached: AttachedMailboxes;
  let client: AbortController;
  let changes: number;
  const soon = () => AbortSignal.timeout(5000);
  const now = () => AbortSignal.timeout(0);
  const attach = (pages: number[], change: { name?: string; pid?: number } = {}, of = client): void => {
    attached.attach({ name: 'task', pid: program.pid, addresses: program.addresses(...pages), ...change }, of.signal);
  };
  const watch = (signal = soon()): Promise<number> => attached.watch('task', client.signal, signal);
  const lookAndRelease = (): boolean => {
    const found = attached.look();
    attached.release();
    return found;
  };

  beforeAll(async () => {
    program = await ProgramOfTest.start(70);
  });
  afterAll(async () => {
    await program[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    for (let page = 0; page < 4; page++) program.write(page, Buffer.alloc(FRAME_SIZE));
    changes = 0;
    room = new MailboxRoom();
    attached = new AttachedMailboxes(room, () => {
      changes += 1;
    });
    client = new AbortController();
  });

  it('tell who watches of a delivery once it is released, and leave the payload to the program', async () => {
    program.arm(marker(), 2, 0);
    attach([2, 0]);
    const watched = watch();
    expect(lookAndRelease()).toBe(false);
    program.deliver(Buffer.alloc(5000, 1), 2, 0);
    const before = program.read(2);
    expect(attached.look()).toBe(true);
    await expect(watch(now())).rejects.toMatchObject({ kind: 'Timeout', reason: 'MAILBOX_EMPTY' });
    changes = 0;
    attached.release();
    attached.release();
    expect(changes).toBe(1);
    expect(await watched).toBe(1);
    expect(await watch()).toBe(1);
    expect(attached.look()).toBe(false);
    expect(program.read(2).equals(before)).toBe(true);
  });

  it('may have been delivered into before they are attached', async () => {
    program.arm(marker(), 0);
    program.deliver(Buffer.from('1'), 0);
    attach([0]);
    await expect(watch(now())).rejects.toMatchObject({ reason: 'MAILBOX_EMPTY' });
    expect(lookAndRelease()).toBe(false); // not a fork that was woken just now
    expect(await watch()).toBe(1);
  });

  it('are attached again when they are armed again, for the next delivery', async () => {
    for (const nonce of [1n, 2n, 3n]) {
      program.arm(marker(nonce), 0, 1);
      attach([0, 1]);
      await expect(watch(now())).rejects.toMatchObject({ reason: 'MAILBOX_EMPTY' });
      program.deliver(Buffer.from('x'), 0, 1);
      expect(lookAndRelease()).toBe(true);
      expect(await watch()).toBe(1);
      program.change([0, 1], consumeSegments);
    }
  });

  it('say nothing of a delivery that does not stand in all of their frames', () => {
    program.arm(marker(), 0, 1);
    attach([0, 1]);
    program.change([0, 1], ([first]) => first!.writeUInt32LE(1, F.generation.offset));
    expect(lookAndRelease()).toBe(false);
    program.change([0, 1], ([, second]) => second!.writeUInt32LE(2, F.generation.offset));
    expect(lookAndRelease()).toBe(false);
    program.change([0, 1], ([, second]) => second!.writeUInt32LE(1, F.generation.offset));
    expect(lookAndRelease()).toBe(true);
  });

  it('go with the connection they came over, and so does who watches', async () => {
    program.arm(marker(), 0);
    const files = openFiles();
    attach([0]);
    attach([0]);
    const watched = expect(watch()).rejects.toMatchObject({ kind: 'NotFound', reason: 'MAILBOX_NOT_ATTACHED' });
    expect(openFiles()).toBe(files + 2);
    changes = 0;
    client.abort();
    await watched;
    expect([openFiles(), changes, attached.registrations()]).toEqual([files, 1, []]);
    const next = new AbortController();
    attach([0], {}, next);
    attached.detach('task', next.signal);
    expect(openFiles()).toBe(files);
    attach([0], {}, client); // its connection is closed: it stays out
    expect(openFiles()).toBe(files);
  });

  it('stay when another program’s connection closes, which listens once for all of its own', async () => {
    program.arm(marker(), 0);
    attach([0]);
    const other = new AbortController();
    for (const name of ['one', 'two']) {
      program.arm({ ...marker(), name }, 1);
      attach([1], { name }, other);
    }
    expect(getEventListeners(other.signal, 'abort')).toHaveLength(1);
    other.abort();
    program.deliver(Buffer.from('1'), 0);
    expect(lookAndRelease()).toBe(true);
    expect(await watch()).toBe(1);
  });

  it('are nobody else’s to watch, detach or replace', async () => {
    program.arm(marker(), 0);
    attach([0]);
    const other = new AbortController().signal;
    await expect(attached.watch('task', other, soon())).rejects.toMatchObject({ reason: 'MAILBOX_NOT_ATTACHED' });
    expect(() => {
      attached.detach('task', other);
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_NOT_ATTACHED' }));
    expect(() => {
      attach([0], {}, new AbortController());
    }).toThrow(expect.objectContaining({ kind: 'AlreadyExists', reason: 'MAILBOX_NAME_TAKEN' }));
    expect(() => {
      room.claim('task', {}, 1); // as who arms one under this name
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_NAME_TAKEN' }));
    attached.detach('task', client.signal);
    room.claim('task', {}, 1);
    expect(() => {
      attach([0]);
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_NAME_TAKEN' }));
  });

  it.each<[string, (frames: Buffer[]) => void]>([
    ['no frame stands there', ([first]) => first!.fill(0)],
    ['the second is no frame', ([, second]) => second!.fill(0)],
    [
      'the frame bears another name',
      (frames) => {
        frames.forEach((frame) => frame.write('tasc', F.name.offset));
      },
    ],
    ['one bears another name', ([, second]) => second!.write('tasc', F.name.offset)],
    ['one bears another token', ([, second]) => second!.write('tx', F.token.offset)],
    ['one bears another nonce', ([, second]) => second!.writeBigUInt64LE(8n, F.nonce.offset)],
    [
      'they are more segments than that',
      (frames) => {
        frames.forEach((frame) => frame.writeUInt16LE(3, F.segmentCount.offset));
      },
    ],
    [
      'they are in another order',
      (frames) => {
        frames.reverse().forEach((_, i) => frames[i]!.writeUInt16LE(1 - i, F.segmentIndex.offset));
      },
    ],
    [
      'they are disposed of',
      (frames) => {
        frames.forEach((frame) => {
          writeFrameState(frame, 'disposed');
        });
      },
    ],
  ])('are refused when %s', (_, damage) => {
    program.arm(marker(), 0, 1);
    program.change([0, 1], damage);
    const files = openFiles();
    expect(() => {
      attach([0, 1]);
    }).toThrow(expect.objectContaining({ kind: 'Corrupt', reason: 'MAILBOX_FRAME_CORRUPT' }));
    expect([openFiles(), attached.registrations(), changes]).toEqual([files, [], 0]);
  });

  it('keep what was attached when another attempt is refused', async () => {
    program.arm(marker(), 0);
    attach([0]);
    expect(() => {
      attach([1]);
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_FRAME_CORRUPT' }));
    program.deliver(Buffer.from('1'), 0);
    lookAndRelease();
    expect(await watch()).toBe(1);
  });

  it('are refused at addresses nobody has', () => {
    for (const address of [4096n, 0xffff_ffff_ffff_f000n, 0x7fff_ffff_f000n, 0xffff_8880_0000_0000n])
      expect(() => {
        attached.attach({ name: 'task', pid: program.pid, addresses: [address] }, client.signal);
      }).toThrow(expect.objectContaining({ reason: 'MAILBOX_FRAME_CORRUPT' }));
  });

  it('are refused in a process that is not there', () => {
    expect(() => {
      attach([0], { pid: 4_194_304 });
    }).toThrow(
      expect.objectContaining({ kind: 'InvalidInput', message: expect.stringContaining('no such process') as string }),
    );
  });

  it('are refused with reserved and malformed names', () => {
    expect(() => {
      attach([0], { name: 'offshoot.network' });
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_NAME_RESERVED' }));
    expect(() => {
      attach([0], { name: 'a b' });
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_NAME_MALFORMED' }));
  });

  it('are at most 64 with 1024 frames, however often they are attached', () => {
    const files = openFiles();
    program.arm(marker(), 0);
    for (let i = 0; i < 3000; i++) attach([0]);
    expect(openFiles()).toBe(files + 2);
    for (let i = 1; i < 64; i++) {
      program.arm({ ...marker(), name: `m${String(i)}` }, 0);
      attach([0], { name: `m${String(i)}` });
    }
    program.arm({ ...marker(), name: 'one-more' }, 0);
    for (let i = 0; i < 1000; i++)
      expect(() => {
        attach([0], { name: 'one-more' });
      }).toThrow(expect.objectContaining({ kind: 'Capacity', reason: 'MAILBOX_LIMIT' }));
    expect(openFiles()).toBe(files + 128);
    client.abort();
    expect(openFiles()).toBe(files);

    const all = Array.from({ length: 64 }, (_, i) => i + 4);
    client = new AbortController();
    for (let i = 0; i < 16; i++) {
      program.arm({ ...marker(), name: `m${String(i)}` }, ...all);
      attach(all, { name: `m${String(i)}` });
    }
    program.arm({ ...marker(), name: 'one-more' }, 0);
    expect(() => {
      attach([0], { name: 'one-more' });
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_LIMIT' }));
    client.abort();
  });

  it('are registered while the kernel says where all of their pages are, with the state of the first that is not armed', () => {
    const physicalAddress = vi.spyOn(ProcessMemory.prototype, 'physicalAddress').mockReturnValue(8192n);
    try {
      program.arm(marker(), 0, 1);
      attach([0, 1]);
      expect(attached.registrations()).toMatchObject([{ segmentAddresses: [8192n, 8192n], state: 1 }]);
      program.change([0, 1], ([, second]) => {
        writeFrameState(second!, 'consumed');
      });
      expect(attached.registrations()).toMatchObject([{ state: 3 }]);
      physicalAddress.mockReturnValueOnce(undefined);
      expect(attached.registrations()).toEqual([]);
    } finally {
      physicalAddress.mockRestore();
    }
  });

  it.skipIf(noPhysicalAddresses)(
    `are registered with where they are in memory${noPhysicalAddresses ? ' (skipped: CAP_SYS_ADMIN)' : ''}`,
    () => {
      program.arm(marker(), 1, 0);
      attach([1, 0]);
      const map = PageMap.open(program.pid);
      const segmentAddresses = program.addresses(1, 0).map((address) => map.physicalAddress(address));
      const frame = { name: 'task', nonce: 7n, tokenFingerprint: tokenFingerprint('tk') };
      expect(attached.registrations()).toEqual([{ ...frame, segmentAddresses, state: 1, attached: true }]);
      program.deliver(Buffer.from('x'), 1, 0);
      expect(attached.registrations()).toMatchObject([{ state: 2 }]);
      program.change([1, 0], consumeSegments);
      expect(attached.registrations()).toMatchObject([{ state: 3 }]);
      map[Symbol.dispose]();
    },
  );

  it.each<[string, (frames: Buffer[]) => void]>([
    ['armed again', ([first]) => first!.writeBigUInt64LE(8n, F.nonce.offset)],
    ['renamed', ([first]) => first!.write('tasc', F.name.offset)],
    ['wiped', ([first]) => first!.fill(0)],
    [
      'disposed of',
      ([first]) => {
        writeFrameState(first!, 'disposed');
      },
    ],
    ['nonsense', ([first]) => first!.writeUInt16LE(65, F.segmentCount.offset)],
  ])('are not registered, nor delivered into, when a frame is %s after it was attached', (_, damage) => {
    program.arm(marker(), 0, 1);
    attach([0, 1]);
    program.deliver(Buffer.from('x'), 0, 1);
    program.change([0, 1], damage);
    expect([attached.look(), attached.registrations()]).toEqual([false, []]);
    program.change([0, 1], (frames) => frames.reverse());
    expect([attached.look(), attached.registrations()]).toEqual([false, []]);
  });

  it('are gone with their process, whoever has its pid then', async () => {
    await using other = await ProgramOfTest.start(1);
    other.arm(marker(), 0);
    attached.attach({ name: 'task', pid: other.pid, addresses: other.addresses(0) }, client.signal);
    other.deliver(Buffer.from('x'), 0);
    await other.end();
    expect([attached.look(), attached.registrations()]).toEqual([false, []]);
    expect(() => {
      attached.attach({ name: 'task', pid: other.pid, addresses: other.addresses(0) }, client.signal);
    }).toThrow(expect.objectContaining({ kind: 'InvalidInput' }));
  });
});
