import { chmodSync, closeSync, rmSync } from 'node:fs';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, bind, listen, socket } from './libc.js';

/** sockaddr_un: two bytes of family, 108 of path with its NUL (unix(7)). */
const MAX_PATH_BYTES = 107;

/**
 * A listening Unix socket at `path`, 0600, for a child to inherit: clients can connect before the child has started. Not
 * Node's own server, which would accept in this process and remove the path when it is closed. A stale file at the path is
 * replaced. The caller closes the descriptor.
 * @throws InvalidInput for a path that is too long
 */
export function openListeningSocket(path: string): number {
  const name = Buffer.from(path, 'utf8');
  if (name.length > MAX_PATH_BYTES)
    throw InvalidInput.field('socket path', `must be at most ${String(MAX_PATH_BYTES)} bytes long, got ${path}`);
  const address = Buffer.alloc(2 + name.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  rmSync(path, { force: true });
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  try {
    bind(fd, address);
    chmodSync(path, 0o600);
    listen(fd, 4);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
