import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

const program = fileURLToPath(new URL('../../bin/offshoot', import.meta.url));

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever that is. */
export function ran(file: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  return new Promise((resolve, reject) => {
    execFile(file, args, { env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === 'number') resolve({ code, stdout, stderr });
      else reject(new Error(`${file} did not run to its end: ${stderr}`, { cause: error }));
    });
  });
}

/** ./bin/offshoot of this checkout with one daemon. */
export class CommandLine {
  private readonly env: NodeJS.ProcessEnv;

  constructor(address: string) {
    this.env = { ...process.env, OFFSHOOT_HOST: address };
  }

  run(...args: readonly string[]): Promise<Ran> {
    return ran(program, args, this.env);
  }

  /** What a command that succeeds prints for people. */
  async text(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    expect({ code, stderr }, stderr).toEqual({ code: 0, stderr: '' });
    return stdout;
  }

  /** The one document that a command that succeeds prints for programs. */
  async json(...args: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.text('--json', ...args));
  }

  /** The exit code and message of a command that fails; the same with `--json`, whose document is returned, too. */
  async failure(...args: readonly string[]): Promise<{ code: number; message: string; error: object }> {
    const [plain, { code, stdout, stderr }] = await Promise.all([this.run(...args), this.run('--json', ...args)]);
    expect({ code, printed: plain.stdout + stdout }).toEqual({ code: plain.code, printed: '' });
    const { error } = JSON.parse(stderr) as { error: { message: string } };
    // On a terminal a message is one line, whatever line breaks it has.
    expect(plain.stderr).toMatch(/^offshoot: .*\n$/);
    // Each of the two has a guest of its own, whose console says who it is.
    const withoutConsole = (text: string): string => text.replace(/; end of the console:.*/s, '').trimEnd();
    expect(withoutConsole(plain.stderr)).toBe(`offshoot: ${withoutConsole(error.message).replaceAll('\n', ' ')}`);
    return { code, message: error.message, error };
  }

  /** Runs a command that goes on for ever until it prints the line, then ends it as Ctrl-C does. Returns the exit code. */
  async untilLine(line: string, ...args: readonly string[]): Promise<number | null> {
    const child = spawn(program, args, { env: this.env, stdio: ['ignore', 'pipe', 'ignore'] });
    const closed = once(child, 'close') as Promise<[number | null]>;
    for await (const printed of createInterface({ input: child.stdout })) if (printed === line) break;
    child.kill('SIGINT');
    child.stdout.resume();
    return (await closed)[0];
  }
}
