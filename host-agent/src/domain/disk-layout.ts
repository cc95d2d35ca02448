/** Folder of the agent and what it needs. */
const AGENT_FOLDER = '/opt/offshoot';

/** Where guests mount something over what the disk has, at boot: files laid there would not be seen. */
const MOUNTED_OVER = ['/dev', '/proc', '/run', '/sys', '/tmp'] as const;

/** Where nobody else lays files on an instance's disk, and why. */
export const CLOSED_FOLDERS: ReadonlyMap<string, string> = new Map([
  ...MOUNTED_OVER.map((folder) => [folder, 'is mounted over at boot'] as const),
  [AGENT_FOLDER, "is the agent's own"],
]);

/** The instance's environment, as commands of a shell. */
export const ENVIRONMENT_FILE = '/etc/offshoot/env.sh';

/** The instance's TLS material, PEM. The key is root's alone. */
export const TLS_FILES = {
  certificate: { path: '/etc/offshoot/tls/cert.pem', mode: 0o644 },
  key: { path: '/etc/offshoot/tls/key.pem', mode: 0o600 },
  authorities: { path: '/etc/offshoot/tls/ca.pem', mode: 0o644 },
} as const;

/** Files that have a field of their own in the request. */
export const OWN_FILES: ReadonlyMap<string, string> = new Map([
  [ENVIRONMENT_FILE, 'env'],
  ...Object.values(TLS_FILES).map(({ path }) => [path, 'tls'] as const),
]);

/** Names of variables that are Offshoot's to set begin so. */
export const RESERVED_VARIABLE = 'OFFSHOOT_';
