import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import type { Exchange } from './exchanges.js';

/** What conversations find in the folder of their process, besides a kernel. */
export async function furnish(directory: string): Promise<void> {
  await writeFile(join(directory, 'disk'), Buffer.alloc(4096));
  await writeFile(join(directory, 'short-memory'), Buffer.alloc(4096));
  await writeFile(join(directory, 'noise'), 'no state of anything'.repeat(100));
  await writeFile(join(directory, 'console'), '');
}

/** Makes the request of an exchange; what was answered. */
export async function replay(socketPath: string, { call, body }: Exchange): Promise<{ status: number; body: string }> {
  const [method, path] = call.split(' ');
  const sent = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
  const asked = request({
    socketPath,
    method: method ?? '',
    path: path ?? '',
    agent: false,
    ...(sent === ''
      ? {}
      : { headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(sent) } }),
  });
  asked.end(sent);
  const [answer] = (await once(asked, 'response')) as [import('node:http').IncomingMessage];
  let text = '';
  for await (const chunk of answer) text += String(chunk);
  return { status: answer.statusCode ?? 0, body: text };
}
