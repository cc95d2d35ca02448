import { readFile } from 'node:fs/promises';

/** `host` is another processor on another host: its name belongs to it. */
export async function hostCpuModel(): Promise<string> {
  const model = /^model name\s*:\s*(.+)$/m.exec(await readFile('/proc/cpuinfo', 'latin1'))?.[1];
  return `host (${model ?? 'unknown'})`;
}
