import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatAckOk, formatNonce, parseAck } from '@offshoot/shared/mailbox/ack-line.js';
import { FRAME_LAYOUT, FRAME_SIZE, SEGMENT_CAPACITY } from '@offshoot/shared/mailbox/frame-layout.js';
import { afterEach, beforeAll, afterAll, beforeEach, describe, expect, it } from 'vitest';
import { AckHost } from './ack-host.js';
import { GuestMemory, type FoundFrame } from './guest-memory.js';
import { LibraryProgram, hexed } from './library-program.js';
import { LIBRARIES, isTestable } from './library.js';
import { ScriptedAgent, type AgentRequest, type Script } from './scripted-agent.js';

const TASK = hexed('task');
const HELLO = Buffer.from('{"hello":"wörld"}');
/** No two of its segments are alike. */
const LARGE = Buffer.from(Array.from({ length: 204_800 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));

const agrees = (request: AgentRequest): void => {
  request.answer({});
};

for (const { name, tool } of LIBRARIES.filter((library) => !isTestable(library)))
  it.skip(`a mailbox of ${name} (skipped: ${String(tool)})`);

describe.each(LIBRARIES.filter(isTestable))('a mailbox of $name', (library) => {
  let folder: string;
  let socket: string;
  let argv: readonly [string, ...string[]];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-sdk-'));
    argv = await library.build(folder);
  }, 60_000);
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  let program: LibraryProgram;
  let memory: GuestMemory;
  beforeEach(async () => {
    socket = join(mkdtempSync(join(folder, 'test-')), 'agent.sock');
    program = LibraryProgram.start(argv, socket);
    // Not before it answers: what starts a program may be another one first, with a memory of its own.
    await program.ask('ack-ok', '-');
    memory = new GuestMemory(program.pid);
  });
  afterEach(async () => {
    memory[Symbol.dispose]();
    await program[Symbol.asyncDispose]();
  });

  /** Arms "task", and finds it as the host does. */
  async function armed(capacity: number = SEGMENT_CAPACITY): Promise<FoundFrame[]> {
    expect(await program.ask('arm', TASK, '-', capacity)).not.toMatch(/^!/);
    return memory.framesOf('task');
  }

  const payloadLeft = (frames: readonly FoundFrame[]): boolean =>
    frames.some(({ address }) =>
      memory
        .read(address)
        .subarray(FRAME_LAYOUT.payload.offset)
        .some((byte) => byte !== 0),
    );
  const statesOf = (): string[] => memory.framesOf('task').map(({ header }) => header.state);

  it('stands in memory once, a page a segment, with one nonce and a token of 128 random bits', async () => {
    const [token = '', capacity] = (await program.ask('arm', TASK, '-', 204_800)).split(' ');
    const frames = memory.framesOf('task');
    expect(capacity).toBe(String(54 * SEGMENT_CAPACITY));
    expect(frames.map(({ header }) => header)).toEqual(
      Array.from({ length: 54 }, (_, segmentIndex) => ({
        name: 'task',
        token: Buffer.from(token, 'hex').toString(),
        segmentIndex,
        segmentCount: 54,
        nonce: frames[0]!.header.nonce,
        state: 'armed',
        generation: 0,
      })),
    );
    expect(frames[0]!.header.token).toMatch(/^[0-9a-f]{32}$/);
    expect(frames.every(({ address }) => address % FRAME_SIZE === 0)).toBe(true);
  });

  // What cannot call fork(2) has no child.
  if (library.hasOwnPages)
    it('is not copied into a child of the process', async () => {
      const [frame] = await armed();
      expect(memory.mappingFlags(frame!.address)).toContain('dc');
    });

  it('gives out 200 KiB byte for byte, and leaves nothing of them in its frames', async () => {
    const frames = await armed(LARGE.length);
    memory.deliver(frames, { payload: LARGE, contentType: 'bytes' });
    expect((await program.ask('wait', '-', 'take')) === `1 bytes ${hexed(LARGE)}`).toBe(true);
    expect(payloadLeft(frames)).toBe(false);
    expect(new Set(statesOf())).toEqual(new Set(['consumed']));
    expect(await program.ask('wait', 0, 'take')).toBe('! MAILBOX_CONSUMED');
  });

  it('keeps what it is asked to keep', async () => {
    const frames = await armed();
    memory.deliver(frames, { payload: HELLO });
    for (const how of ['keep', 'keep', 'take'])
      expect(await program.ask('wait', 0, how)).toBe(`1 json ${hexed(HELLO)}`);
    expect(payloadLeft(frames)).toBe(false);
  });

  it('is empty and new when it is armed again, and keeps its token unless it is given another', async () => {
    const [first] = await armed();
    memory.deliver([first!], { payload: HELLO });
    expect(await program.ask('wait', 0, 'keep')).toMatch(/^1 json/);
    expect(await program.ask('rearm', '-')).toBe(hexed(first!.header.token));
    const [again, ...others] = memory.framesOf('task');
    expect(others).toEqual([]);
    expect(again).toMatchObject({ address: first!.address, header: { state: 'armed', generation: 0 } });
    expect(again!.header.nonce).not.toBe(first!.header.nonce);
    expect(payloadLeft([again!])).toBe(false);
    expect(await program.ask('wait', 0, 'take')).toBe('! MAILBOX_EMPTY');
    expect(await program.ask('ack', 'applied', '-', 0)).toBe('! MAILBOX_EMPTY');
    expect(await program.ask('rearm', hexed('schlüssel-🔑'))).toBe(hexed('schlüssel-🔑'));
    expect(memory.framesOf('task')[0]!.header.token).toBe('schlüssel-🔑');
  });

  it('waits on while a segment has no generation', async () => {
    const frames = await armed(3 * SEGMENT_CAPACITY);
    const payload = LARGE.subarray(0, 2 * SEGMENT_CAPACITY + 5);
    memory.deliver(frames, { payload, withhold: [2] });
    expect(await program.ask('wait', 60, 'take')).toBe('! MAILBOX_EMPTY');
    memory.deliver(frames, { payload });
    expect(await program.ask('wait', '-', 'take')).toBe(`1 json ${hexed(payload)}`);
  });

  it('refuses a torn delivery, and leaves nothing of it', async () => {
    const frames = await armed(3 * SEGMENT_CAPACITY);
    memory.deliver(frames, { payload: LARGE.subarray(0, 3 * SEGMENT_CAPACITY) });
    memory.write(frames[1]!.address + FRAME_LAYOUT.payload.offset + 9, Buffer.from([0xee, 0xee]));
    expect(await program.ask('wait', '-', 'keep')).toBe('! MAILBOX_FRAME_CORRUPT checksum');
    expect(payloadLeft(frames)).toBe(false);
    expect(await program.ask('wait', 0, 'take')).toBe('! MAILBOX_CONSUMED');
    expect(await program.ask('ack', 'applied', '-', 0)).toBe('! MAILBOX_EMPTY');
  });

  it('refuses a delivery that is for another arming of it', async () => {
    const frames = await armed();
    await program.ask('rearm', '-');
    memory.deliver(frames, { payload: HELLO });
    expect(await program.ask('wait', '-', 'take')).toBe('! MAILBOX_FRAME_CORRUPT nonce');
  });

  it('leaves nothing in memory when it is disposed of', async () => {
    const frames = await armed(3 * SEGMENT_CAPACITY);
    memory.deliver(frames, { payload: HELLO });
    await program.ask('wait', 0, 'keep');
    expect(await program.ask('dispose')).toBe('ok');
    expect(memory.framesOf('task')).toEqual([]);
    for (const { address } of frames) expect(memory.read(address).every((byte) => byte === 0)).toBe(true);
    expect(await program.ask('wait', 0, 'take')).toBe('! MAILBOX_DISPOSED');
    expect(await program.ask('ack', 'applied', '-', 0)).toBe('! MAILBOX_DISPOSED');
    expect(await program.ask('dispose')).toBe('ok');
  });

  it.each([
    ['a name with a space', 'a b', 'tk', 1, 'MAILBOX_NAME_MALFORMED'],
    ['a name of 65 characters', 'n'.repeat(65), 'tk', 1, 'MAILBOX_NAME_MALFORMED'],
    ['a name of Offshoot’s own', 'offshoot.network', 'tk', 1, 'MAILBOX_NAME_RESERVED'],
    ['a token of 129 bytes', 'task', 't'.repeat(129), 1, 'MAILBOX_TOKEN_MALFORMED'],
    ['no capacity', 'task', 'tk', 0, 'INVALID_FIELD'],
    ['a capacity over 240 KiB', 'task', 'tk', 245_761, 'INVALID_FIELD'],
  ])('is not armed with %s', async (_, name, token, capacity, reason) => {
    expect(await program.ask('arm', hexed(name), hexed(token), capacity)).toBe(`! ${reason}`);
    expect(memory.framesOf(name)).toEqual([]);
  });

  describe('acknowledges', () => {
    it('again and again, until the host confirms that very delivery', async () => {
      const frames = await armed();
      let nonce = 0n;
      await using host = await AckHost.open(
        (count) => [[], [formatAckOk(nonce ^ 1n), `${formatAckOk(nonce)}\n`], [formatAckOk(nonce)]][count - 1] ?? [],
      );
      nonce = memory.deliver(frames, { payload: HELLO, ack: { transport: 'udp', port: host.port } });
      await program.ask('wait', '-', 'take');
      expect(await program.ask('ack', 'failed', hexed('no röute'), 20_000)).toBe('true');
      expect(new Set(host.lines).size).toBe(1);
      expect(host.lines.length).toBeGreaterThanOrEqual(3);
      expect(parseAck(Buffer.from(host.lines[0]!, 'latin1'))).toEqual({
        ok: true,
        ack: { mailbox: 'task', generation: 1, nonce, stage: 'failed', detail: 'no röute' },
      });
    });

    it('until its time is over, and says so', async () => {
      const frames = await armed();
      await using host = await AckHost.open(() => []);
      memory.deliver(frames, { payload: HELLO, ack: { transport: 'udp', port: host.port } });
      await program.ask('wait', '-', 'take');
      expect(await program.ask('ack', 'received', '-', 150)).toBe('! ACK_UNCONFIRMED');
      expect(host.lines.length).toBeGreaterThanOrEqual(2);
      expect(host.lines[0]).toMatch(/ stage=received$/);
    });

    it.each([
      ['not at all', 'none', 'false'],
      ['through an agent that is not there', 'channel', 'false'],
      ['by vsock, through an agent that is not there', 'vsock', 'false'],
    ] as const)('%s', async (_, transport, answer) => {
      const frames = await armed();
      memory.deliver(frames, { payload: HELLO, ack: { transport } });
      await program.ask('wait', '-', 'take');
      expect(await program.ask('ack', 'applied', '-', 20_000)).toBe(answer);
    });
  });

  describe('with an agent', () => {
    const withAgent = (script: Script): Promise<ScriptedAgent> => ScriptedAgent.listen(socket, script);

    it('is attached by process and addresses, once for each arming, and detached before it goes', async () => {
      await using agent = await withAgent({ attach: agrees, detach: agrees });
      const frames = await armed(3 * SEGMENT_CAPACITY);
      const addresses = frames.map(({ address }) => address.toString(16));
      await program.ask('rearm', '-');
      await program.ask('dispose');
      const attach = { op: 'attach', name: 'task', pid: program.pid, addresses };
      expect(agent.requests).toEqual([attach, attach, { op: 'detach', name: 'task' }]);
    });

    it('gives out a delivery only when the agent says that it counts', async () => {
      const watches: AgentRequest[] = [];
      await using _agent = await withAgent({
        attach: agrees,
        watch: (request) => {
          // The first is left open: the fork has not its own address yet.
          if (watches.push(request) > 1) request.answer({ generation: 1 });
        },
      });
      memory.deliver(await armed(), { payload: HELLO });
      expect(await program.ask('wait', 1200, 'take')).toBe('! MAILBOX_EMPTY');
      expect(await program.ask('wait', '-', 'take')).toBe(`1 json ${hexed(HELLO)}`);
      expect(watches.map(({ fields }) => fields)).toEqual([
        { op: 'watch', name: 'task', timeoutMs: expect.any(Number) as number },
        { op: 'watch', name: 'task' },
      ]);
    });

    it('waits no longer than the agent does', async () => {
      await using _agent = await withAgent({
        attach: agrees,
        watch: (request) => {
          request.refuse('MAILBOX_EMPTY');
        },
      });
      await armed();
      expect(await program.ask('wait', 50, 'take')).toBe('! MAILBOX_EMPTY');
    });

    it.each([
      ['is too old to know of attaching', {}],
      [
        'cannot see the process',
        {
          attach: (request: AgentRequest) => {
            request.refuse('MAILBOX_FRAME_CORRUPT');
          },
        },
      ],
      [
        'goes when it is asked',
        {
          attach: (request: AgentRequest) => {
            request.hangUp();
          },
        },
      ],
      [
        'goes during the wait',
        {
          attach: agrees,
          watch: (request: AgentRequest) => {
            request.hangUp();
          },
        },
      ],
      [
        'has forgotten it',
        {
          attach: agrees,
          watch: (request: AgentRequest) => {
            request.refuse('MAILBOX_NOT_ATTACHED');
          },
        },
      ],
    ])('goes on by itself when the agent %s', async (_, script) => {
      await using _agent = await withAgent(script);
      memory.deliver(await armed(), { payload: HELLO });
      expect(await program.ask('wait', '-', 'take')).toBe(`1 json ${hexed(HELLO)}`);
    });

    it('does not wait for ever for an agent that hangs', async () => {
      await using _agent = await withAgent({ attach: agrees, watch: () => undefined });
      memory.deliver(await armed(), { payload: HELLO });
      expect(await program.ask('wait', 20_000, 'take')).toBe(`1 json ${hexed(HELLO)}`);
    }, 30_000);

    it('is not armed under a name the agent holds for somebody else', async () => {
      await using _agent = await withAgent({
        attach: (request) => {
          request.refuse('MAILBOX_NAME_TAKEN');
        },
        detach: agrees,
      });
      expect(await program.ask('arm', TASK, '-', 1)).toBe('! MAILBOX_NAME_TAKEN');
      expect(memory.framesOf('task')).toEqual([]);
    });

    it.each(['channel', 'vsock'] as const)(
      'acknowledges through the agent what asks for that by %s',
      async (transport) => {
        const answers: Readonly<Record<string, unknown>>[] = [{ confirmed: true }, { confirmed: false }];
        await using agent = await withAgent({
          attach: agrees,
          watch: agrees,
          'send-ack': (request) => {
            const answer = answers.shift();
            if (answer === undefined) request.refuse('ACK_UNCONFIRMED');
            else request.answer(answer);
          },
        });
        const nonce = memory.deliver(await armed(), { payload: HELLO, ack: { transport } });
        await program.ask('wait', '-', 'take');
        const detail = hexed('"7" \\ words');
        for (const answer of ['true', 'false', '! ACK_UNCONFIRMED'])
          expect(await program.ask('ack', 'applied', detail, 20_000)).toBe(answer);
        const line = `offshoot-ack v=1 mailbox=task generation=1 nonce=${formatNonce(nonce)} stage=applied detail=%227%22%20%5C%20words`;
        expect(agent.requests.at(-1)).toEqual({ op: 'send-ack', line });
      },
    );
  });
});
