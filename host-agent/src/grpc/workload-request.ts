import { posix } from 'node:path';
import type { Workload, WorkloadFile } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { CreateInstanceCommand } from '../app/commands.js';
import { REQUEST_LIMITS } from './contract/request-limits.js';
import { checkNotReserved } from './reserved-variables.js';
import { quoted, type Violations } from './violations.js';

const L = REQUEST_LIMITS.workload;

type WorkloadSpec = NonNullable<CreateInstanceCommand['workload']>;

/** The program and files for the guest. Nothing of a value goes into a message: files and environments hold secrets. */
export function parseWorkload(
  field: string,
  workload: Workload | undefined,
  violations: Violations,
): WorkloadSpec | undefined {
  if (workload === undefined) return undefined;
  const { argv, env, workingDirectory } = workload;
  checkProgram(field, argv, env, violations);
  const directory = workingDirectory === '' ? '/' : workingDirectory;
  if (directory !== '/') checkPath(`${field}.working_directory`, directory, violations);
  return {
    argv: [...argv],
    env: Object.fromEntries(Object.entries(env)),
    workingDirectory: directory,
    files: parseFiles(`${field}.files`, workload.files, violations),
  };
}

function checkProgram(
  field: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  violations: Violations,
): void {
  const variables = Object.entries(env);
  if (argv.length > L.arguments)
    violations.add(`${field}.argv`, `must be at most ${String(L.arguments)} arguments, got ${String(argv.length)}`);
  if (variables.length > L.environment)
    violations.add(
      `${field}.env`,
      `must be at most ${String(L.environment)} variables, got ${String(variables.length)}`,
    );
  if (argv[0] === '') violations.add(`${field}.argv[0]`, 'must name a program, got ""');
  argv.forEach((argument, i) => {
    checkExecString(`${field}.argv[${String(i)}]`, argument, violations);
  });
  for (const [name, value] of variables) {
    if (name === '' || name.includes('=') || name.includes('\0'))
      violations.add(`${field}.env`, `a name must be non-empty, without = and NUL, got ${quoted(name)}`);
    checkNotReserved(`${field}.env`, name, violations);
    checkExecString(`${field}.env[${quoted(name)}]`, `${name}=${value}`, violations);
  }
  const strings = [...argv, ...variables.map(([name, value]) => `${name}=${value}`)];
  const bytes = strings.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
  if (bytes > L.execBytes)
    violations.add(field, `argv and env must be at most ${String(L.execBytes)} bytes together, got ${String(bytes)}`);
}

function checkExecString(field: string, text: string, violations: Violations): void {
  if (text.includes('\0')) violations.add(field, 'must not contain NUL: programs would see it cut off there');
  const bytes = Buffer.byteLength(text);
  if (bytes > L.argumentBytes)
    violations.add(
      field,
      `must be at most ${String(L.argumentBytes)} bytes (the kernel's limit), got ${String(bytes)}`,
    );
}

function parseFiles(field: string, files: readonly WorkloadFile[], violations: Violations): WorkloadSpec['files'] {
  if (files.length > L.files)
    violations.add(field, `must be at most ${String(L.files)} files, got ${String(files.length)}`);
  const bytes = files.reduce((sum, file) => sum + file.content.length, 0);
  if (bytes > L.fileBytes)
    violations.add(
      field,
      `must be at most ${String(L.fileBytes)} bytes together, got ${String(bytes)}: put larger files into the image`,
      'WORKLOAD_FILES_TOO_LARGE',
    );
  const seen = new Map<string, number>();
  return files.map(({ path, mode, content }, i) => {
    const at = `${field}[${String(i)}]`;
    checkPath(`${at}.path`, path, violations);
    const first = seen.get(path);
    if (first === undefined) seen.set(path, i);
    else violations.add(`${at}.path`, `must be given once, got ${quoted(path)} in ${field}[${String(first)}] too`);
    if (mode > L.mode)
      violations.add(`${at}.mode`, `must be permission bits, at most 0${L.mode.toString(8)}, got 0${mode.toString(8)}`);
    return { path, mode: mode === 0 ? L.defaultMode : mode, content };
  });
}

/** Absolute and in its normal form, so that what is written where can be read off the request. */
export function checkPath(field: string, path: string, violations: Violations): void {
  const segments = path.split('/').slice(1);
  const normal = path.startsWith('/') && path !== '/' && !path.endsWith('/') && posix.normalize(path) === path;
  if (!normal || path.includes('\0'))
    violations.add(
      field,
      `must be an absolute path without //, . and .. segments, a / at its end, and NUL, got ${quoted(path)}`,
      'PATH_MALFORMED',
    );
  else if (
    Buffer.byteLength(path) > L.pathBytes ||
    segments.some((name) => Buffer.byteLength(name) > L.pathSegmentBytes)
  )
    violations.add(
      field,
      `must be at most ${String(L.pathBytes)} bytes, each segment at most ${String(L.pathSegmentBytes)}, got ${quoted(path)}`,
      'PATH_MALFORMED',
    );
}
