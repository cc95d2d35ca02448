import type { DaemonClient } from './daemon-client.js';
import { writeAll } from './daemon-client.js';

/** What a command has to do its work with. */
export interface CommandContext {
  readonly client: DaemonClient;
  readonly json: boolean;
  /** Progress may be drawn. */
  readonly interactive: boolean;
  /** Prints the command's one result: the JSON document with `--json`, else the text. */
  print(result: { json: () => Promise<unknown>; text: () => string }): Promise<void>;
}

export function commandContext(client: DaemonClient, json: boolean): CommandContext {
  return {
    client,
    json,
    interactive: !json && process.stdout.isTTY && process.stderr.isTTY,
    print: async (result) => {
      const text = json ? JSON.stringify(await result.json(), undefined, 2) : result.text();
      if (text !== '') await writeAll(process.stdout, `${text}\n`);
    },
  };
}

/** For calls that answer from what the daemon knows: a daemon that does not answer in this time is stuck. */
export const READ_DEADLINE_MS = 30_000;
