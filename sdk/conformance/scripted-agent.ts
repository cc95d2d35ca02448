import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** One request of a client, which the test answers. */
export interface AgentRequest {
  readonly fields: Readonly<Record<string, unknown>>;
  /** The answer's fields besides `id`. */
  answer(fields: Readonly<Record<string, unknown>>): void;
  refuse(reason: string): void;
  /** Ends the connection it came by. */
  hangUp(): void;
}

/** What the agent does with a request, by its `op`; one that is not named here is refused as by an agent that is too old. */
export type Script = Readonly<Record<string, (request: AgentRequest) => void>>;

/** A guest agent that only says what a test has it say, on a socket of its own. */
export class ScriptedAgent implements AsyncDisposable {
  /** In the order they came. */
  readonly requests: Readonly<Record<string, unknown>>[] = [];
  private readonly clients = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly script: Script,
  ) {
    server.on('connection', (socket) => {
      this.clients.add(socket);
      socket.on('error', () => undefined);
      createInterface({ input: socket }).on('line', (line) => {
        this.serve(socket, line);
      });
    });
  }

  static async listen(path: string, script: Script): Promise<ScriptedAgent> {
    const server = createServer();
    const agent = new ScriptedAgent(server, script);
    server.listen(path);
    await once(server, 'listening');
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) client.destroy();
    this.server.close();
    await once(this.server, 'close');
  }

  private serve(socket: Socket, line: string): void {
    const { id, ...fields } = JSON.parse(line) as Record<string, unknown>;
    this.requests.push(fields);
    const answer = (said: Readonly<Record<string, unknown>>): void => {
      // Spaces and a nested object: the answer is JSON, not a form of words.
      socket.write(
        `${JSON.stringify({ note: { id: 'none', ok: [false, '}'] }, id, ...said }).replaceAll('":', '" : ')}\n`,
      );
    };
    const request: AgentRequest = {
      fields,
      answer: (said) => {
        answer({ ok: true, ...said });
      },
      refuse: (reason) => {
        answer({ ok: false, error: { kind: 'InvalidInput', reason, message: 'a "quoted" word, and {more}' } });
      },
      hangUp: () => socket.destroy(),
    };
    const act = this.script[String(fields.op)];
    if (act === undefined) request.refuse('INVALID_FIELD');
    else act(request);
  }
}
