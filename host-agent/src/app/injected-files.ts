import { ENVIRONMENT_FILE, TLS_FILES } from '../domain/disk-layout.js';
import type { DiskFile } from '../ports/disk-preparer.js';
import type { Injection } from './commands.js';

/** All that is laid on an instance's own disk before its first boot, as files. */
export function injectedFiles({ env, files, tls }: Injection): readonly DiskFile[] {
  const ours = (path: string, mode: number, text: string): DiskFile => {
    return { path, mode, uid: 0, gid: 0, content: Buffer.from(text) };
  };
  const laid = [...files];
  // Root's alone, as variables hold secrets.
  if (Object.keys(env).length > 0) laid.push(ours(ENVIRONMENT_FILE, 0o600, exportsOf(env)));
  for (const part of ['certificate', 'key', 'authorities'] as const) {
    const text = tls?.[part];
    if (text !== undefined) laid.push(ours(TLS_FILES[part].path, TLS_FILES[part].mode, text));
  }
  return laid;
}

/** Within single quotes a shell takes everything as it is, line breaks too, but for the quote itself. */
const exportsOf = (env: Readonly<Record<string, string>>): string =>
  Object.entries(env)
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join('');
