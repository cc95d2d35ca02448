import { Unsupported } from '@offshoot/shared/errors.js';
import { ToolFailure, runTool } from './tool.js';

/**
 * Absolute paths of the shared libraries a program or library is loaded with, the dynamic loader among them; none for a
 * static one and for what the loader of this machine does not run (another architecture, no ELF file).
 * @throws Unsupported (LIBRARY_MISSING) when a library is not on this machine
 */
export async function sharedLibraries(file: string, signal?: AbortSignal): Promise<readonly string[]> {
  const { stdout } = await runTool('ldd', [file], { signal }).catch((error: unknown) => {
    if (error instanceof ToolFailure && /not a dynamic executable|^$/.test(error.stderr.trim())) return { stdout: '' };
    throw error;
  });
  return parseLdd(stdout, file);
}

/** Lines are `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` for the loader, `NAME => not found`, `linux-vdso.so.1 (ADDRESS)`. */
export function parseLdd(output: string, file: string): string[] {
  const missing = [...output.matchAll(/^\s*(\S+) => not found$/gm)].map(([, name]) => name ?? '');
  if (missing.length > 0)
    throw new Unsupported(`${file} needs libraries that are not installed: ${missing.join(', ')}`, {
      reason: 'LIBRARY_MISSING',
      metadata: { file, libraries: missing.join(',') },
    });
  return [...output.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].map(([, path]) => path ?? '');
}
