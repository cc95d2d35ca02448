import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** The first of these folders that has a program of this name; absolute. */
export function findIn(folders: readonly string[], name: string): string | undefined {
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs a program with nothing of the caller's but these arguments and where its output goes. @returns whether it succeeded
 * @throws system errors when it cannot be started
 */
export async function runCleared(path: string, args: readonly string[], folders: readonly string[]): Promise<boolean> {
  const child = spawn(path, args, {
    cwd: '/',
    env: { LC_ALL: 'C', PATH: folders.join(':') },
    shell: false,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => {
      resolve(code === 0);
    });
  });
}
