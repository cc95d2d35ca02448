import { execaSync } from 'execa';

/** What is missing for tests that change the network in a namespace of their own; undefined when nothing is. */
export function missingForNamespaces(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  for (const [program, argument] of [
    ['unshare', '--version'],
    ['setpriv', '--version'],
    ['ip', '-V'],
    ['nft', '--version'],
  ] as const)
    if (execaSync(program, [argument], { reject: false }).failed) return program;
  if (execaSync('unshare', ['--net', '--mount', 'true'], { reject: false }).failed) return 'right to make namespaces';
  const openTun = ['--net', '--mount', ...WITH_OPEN_TUN, 'sh', '-c', ': <>/dev/net/tun'];
  return execaSync('unshare', openTun, { reject: false }).failed ? '/dev/net/tun' : undefined;
}

/** Lets everybody open the tun driver, as udev does on most machines: in the namespace, before what follows. */
export const WITH_OPEN_TUN = [
  'sh',
  '-c',
  'mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"',
  'sh',
] as const;
