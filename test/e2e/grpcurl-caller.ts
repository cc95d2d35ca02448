import { execFile } from 'node:child_process';
import type { ApiCaller, CallOutcome, JsonMessage } from './api-caller.js';

/** What grpcurl's exit code is for a status: this and the code. */
const STATUS_EXIT = 64;

/** Calls by running grpcurl. */
export class GrpcurlCaller implements ApiCaller {
  constructor(
    private readonly program: string,
    private readonly address: string,
  ) {}

  async list(): Promise<string[]> {
    return (await this.succeeding([], 'list')).trim().split('\n').sort();
  }

  async describe(symbol: string): Promise<string[]> {
    const text = await this.succeeding([], 'describe', symbol);
    const names = text.matchAll(/^ +(?:rpc (\w+) \(|(?:optional |repeated )?(?:map<[^>]+>|[\w.]+) (\w+) = \d+;)/gm);
    return Array.from(names, ([, method, field]) => method ?? field ?? '');
  }

  async call(method: string, request: JsonMessage): Promise<CallOutcome> {
    const flags = ['-format-error', '-d', JSON.stringify(request)];
    const { code, stdout, stderr } = await this.run(flags, method);
    if (code === 0) return { ok: true, response: JSON.parse(stdout) as JsonMessage };
    if (code < STATUS_EXIT) throw new Error(`grpcurl ended with ${String(code)}: ${stderr}`);
    const status = JSON.parse(stderr) as { code: number; message: string; details?: JsonMessage[] };
    return { ok: false, details: [], ...status };
  }

  private async succeeding(flags: readonly string[], ...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(flags, ...words);
    if (code !== 0) throw new Error(`grpcurl ended with ${String(code)}: ${stderr}`);
    return stdout;
  }

  private run(flags: readonly string[], ...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve, reject) => {
      execFile(this.program, ['-plaintext', ...flags, this.address, ...words], (error, stdout, stderr) => {
        const code = error === null ? 0 : error.code;
        if (typeof code === 'number') resolve({ code, stdout, stderr });
        else reject(new Error(`${this.program} did not run to its end`, { cause: error }));
      });
    });
  }
}
