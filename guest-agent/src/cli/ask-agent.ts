import { connect } from 'node:net';

/** What the agent answers; read field by field, because a command stays a small program. */
export interface AgentAnswer {
  readonly ok: boolean;
  readonly token?: string;
  readonly text?: string;
  readonly base64?: string;
  readonly hostname?: string;
  readonly machineId?: string;
  readonly mac?: string;
  readonly ipv4?: string;
  readonly gateway?: string;
  readonly generation?: number;
  readonly error?: { readonly reason: string; readonly message: string };
}

/** Sends one request to the agent and resolves with its answer. Rejects when no agent listens or it goes away. */
export function askAgent(path: string, request: Readonly<Record<string, unknown>>): Promise<AgentAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let answer = '';
    socket.setEncoding('utf8');
    socket.once('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on('data', (text: string) => {
      answer += text;
      if (!answer.endsWith('\n')) return;
      resolve(JSON.parse(answer) as AgentAnswer);
      socket.end();
    });
    socket.once('error', reject);
    socket.once('close', () => {
      reject(new Error('the agent closed the connection'));
    });
  });
}
