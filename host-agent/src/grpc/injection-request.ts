import { X509Certificate, createPrivateKey } from 'node:crypto';
import type {
  CreateInstanceRequest,
  DiskFile,
  TlsMaterial,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { messageOf } from '@offshoot/shared/errors.js';
import type { Injection } from '../app/commands.js';
import { CLOSED_FOLDERS, OWN_FILES } from '../domain/disk-layout.js';
import { REQUEST_LIMITS } from './contract/request-limits.js';
import { checkNotReserved } from './reserved-variables.js';
import { quoted, type Violations } from './violations.js';
import { checkPath } from './workload-request.js';

const L = REQUEST_LIMITS.injection;

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
const CONTROL = /\p{Cc}/u;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** What goes on the instance's own disk. Nothing of a value goes into a message: files, keys and environments are secrets. */
export const parseInjection = (
  { env, files, tls }: Pick<CreateInstanceRequest, 'env' | 'files' | 'tls'>,
  violations: Violations,
): Injection => ({
  env: parseEnvironment(env, violations),
  files: parseFiles(files, violations),
  tls: tls === undefined ? undefined : parseTls(tls, violations),
});

function parseEnvironment(env: Readonly<Record<string, string>>, violations: Violations): Record<string, string> {
  const variables = Object.entries(env);
  for (const [name, value] of variables) {
    if (!VARIABLE.test(name))
      violations.add('env', `a name must be of A-Z a-z 0-9 _, not beginning with a digit, got ${quoted(name)}`);
    checkNotReserved('env', name, violations);
    if (value.includes('\0')) violations.add(`env[${quoted(name)}]`, 'must not contain NUL');
  }
  if (variables.length > L.variables)
    violations.add('env', `must be at most ${String(L.variables)} variables, got ${String(variables.length)}`);
  const bytes = variables.reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);
  if (bytes > L.environmentBytes)
    violations.add('env', `must be at most ${String(L.environmentBytes)} bytes together, got ${String(bytes)}`);
  return Object.fromEntries(variables);
}

function parseFiles(files: readonly DiskFile[], violations: Violations): Injection['files'] {
  if (files.length > L.files)
    violations.add('files', `must be at most ${String(L.files)}, got ${String(files.length)}`);
  const bytes = files.reduce((sum, { content }) => sum + content.length, 0);
  if (bytes > L.filesBytes)
    violations.add(
      'files',
      `must be at most ${String(L.filesBytes)} bytes together, got ${String(bytes)}: put larger ones into the image`,
      'DISK_FILES_TOO_LARGE',
    );
  const seen = new Map<string, number>();
  return files.map(({ path, mode, uid, gid, content }, i) => {
    const at = `files[${String(i)}]`;
    checkPath(`${at}.path`, path, violations);
    if (CONTROL.test(path))
      violations.add(`${at}.path`, `must not contain control characters, got ${quoted(path)}`, 'PATH_MALFORMED');
    checkOpen(`${at}.path`, path, violations);
    const first = seen.get(path);
    if (first === undefined) seen.set(path, i);
    else violations.add(`${at}.path`, `must be given once, got ${quoted(path)} in files[${String(first)}] too`);
    if (mode > L.mode) violations.add(`${at}.mode`, `must be at most 0${L.mode.toString(8)}, got 0${mode.toString(8)}`);
    if (content.length > L.fileBytes)
      violations.add(
        `${at}.content`,
        `must be at most ${String(L.fileBytes)} bytes, got ${String(content.length)}`,
        'DISK_FILES_TOO_LARGE',
      );
    for (const [field, id] of Object.entries({ uid, gid }))
      if (id > L.maxId) violations.add(`${at}.${field}`, `must be at most ${String(L.maxId)}, got ${String(id)}`);
    return { path, mode: mode === 0 ? L.defaultMode : mode, uid, gid, content };
  });
}

function checkOpen(field: string, path: string, violations: Violations): void {
  for (const [folder, why] of CLOSED_FOLDERS)
    if (path === folder || path.startsWith(`${folder}/`))
      violations.add(field, `must be elsewhere than in ${folder}, which ${why}, got ${quoted(path)}`, 'PATH_RESERVED');
  const other = OWN_FILES.get(path);
  if (other !== undefined) violations.add(field, `is what ${other} makes: give that instead`, 'PATH_RESERVED');
}

function parseTls({ certificate, privateKey, authorities }: TlsMaterial, violations: Violations): Injection['tls'] {
  const wrong = (field: string, what: string): void => {
    violations.add(`tls.${field}`, what, 'TLS_MALFORMED');
  };
  for (const [field, text] of Object.entries({ certificate, private_key: privateKey, authorities }))
    if (Buffer.byteLength(text) > L.pemBytes)
      wrong(field, `must be at most ${String(L.pemBytes)} bytes, got ${String(Buffer.byteLength(text))}`);
  const [own] = parseCertificates('certificate', certificate, wrong);
  if (authorities !== '') parseCertificates('authorities', authorities, wrong);
  try {
    const key = createPrivateKey(privateKey);
    if (own?.checkPrivateKey(key) === false) wrong('private_key', 'is not the key of the certificate');
  } catch {
    // Its words are OpenSSL's, and of no help.
    wrong('private_key', 'must be an unencrypted private key in PEM');
  }
  return { certificate, key: privateKey, authorities: authorities === '' ? undefined : authorities };
}

function parseCertificates(
  field: string,
  text: string,
  wrong: (field: string, what: string) => void,
): readonly X509Certificate[] {
  const found = text.match(CERTIFICATE) ?? [];
  if (found.length === 0) wrong(field, 'must be certificates in PEM, at least one');
  try {
    return found.map((pem) => new X509Certificate(pem));
  } catch (error) {
    wrong(field, `has what is no certificate: ${messageOf(error)}`);
    return [];
  }
}
