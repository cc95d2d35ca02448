import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serveDouble } from './testing/double-server.js';
import { BOOTS, CONVERSATIONS, type Conversation } from './testing/exchanges.js';
import { furnish, replay } from './testing/replay.js';

/** The same conversations are had with the real one in test/firecracker-driver, where it is there. */
describe("the double of Firecracker's API answers as the real one", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'double-'));
    await furnish(directory);
    await writeFile(join(directory, 'kernel'), '');
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function converse({ exchanges }: Conversation): Promise<void> {
    const socket = join(directory, 'api.sock');
    let ended = false;
    await using _server = await serveDouble(socket, directory, () => (ended = true));
    for (const exchange of exchanges) {
      const { status, body } = await replay(socket, exchange);
      expect(status, exchange.call).toBe(exchange.status);
      expect(body, exchange.call).toMatch(exchange.says ?? /^$/);
      expect(ended).toBe(exchange.ends ?? false);
    }
  }

  it.each(CONVERSATIONS.map((conversation) => [conversation.name, conversation] as const))(
    '%s',
    async (_, conversation) => {
      if (conversation.loads === true) {
        await converse(BOOTS);
      }
      await converse(conversation);
    },
  );
});
