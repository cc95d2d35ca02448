import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BOOTS, CONVERSATIONS, type Conversation } from '../../host-agent/src/drivers/firecracker/testing/exchanges.js';
import { furnish, replay } from '../../host-agent/src/drivers/firecracker/testing/replay.js';
import { SocketWatch } from '../../host-agent/src/drivers/http-api/socket-watch.js';
import { buildBareGuest } from '../bare-guest/bare-guest.js';
import { FIRECRACKER } from '../conformance/subjects/firecracker.js';

const missing = await FIRECRACKER.missing();

/** The double has the same conversations in firecracker-double.test.ts: what Firecracker refuses, the double refuses. */
describe.skipIf(missing !== '')(`Firecracker answers as recorded${missing && ` (skipped: ${missing})`}`, () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'exchanges-'));
    await furnish(directory);
    await rename(await buildBareGuest(directory), join(directory, 'kernel'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function converse({ exchanges }: Conversation): Promise<void> {
    const socket = join(directory, 'api.sock');
    using watch = new SocketWatch(socket);
    const vmm: ChildProcess = spawn(FIRECRACKER.binary, ['--api-sock', 'api.sock'], {
      cwd: directory,
      stdio: 'ignore',
    });
    const exited = once(vmm, 'exit');
    try {
      await watch.accepts(AbortSignal.timeout(20_000));
      for (const exchange of exchanges) {
        const { status, body } = await replay(socket, exchange);
        expect(status, `${exchange.call}: ${body}`).toBe(exchange.status);
        expect(body, exchange.call).toMatch(exchange.says ?? /^$/);
        if (exchange.ends === true) expect(await exited).toEqual([1, null]);
        else expect(vmm.exitCode).toBeNull();
      }
    } finally {
      vmm.kill('SIGKILL');
      await exited;
      await rm(socket);
    }
  }

  it.each(CONVERSATIONS.map((conversation) => [conversation.name, conversation] as const))(
    '%s',
    async (_, conversation) => {
      if (conversation.loads === true) await converse(BOOTS);
      await converse(conversation);
    },
  );
});
