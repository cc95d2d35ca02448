import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** Whether this process may make a network namespace with a pair of devices in it. */
function missing(): string | undefined {
  const probe = spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'peer0'], {
    encoding: 'utf8',
  });
  if (probe.error !== undefined) return 'unshare';
  return probe.status === 0 ? undefined : 'rights or kernel support for a veth device in a network namespace';
}

const why = missing();
const skipped = why === undefined ? '' : ` (skipped: ${why})`;

describe.skipIf(why !== undefined)(`re-addressing an interface${skipped}`, () => {
  let directory: string;
  let program: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-netns-'));
    program = join(directory, 'apply.cjs');
    // Runs in a process of its own: a network namespace belongs to a process.
    buildSync({
      stdin: {
        contents: `
          import { NetworkInterface } from './network-interface.js';
          const eth0 = new NetworkInterface('eth0');
          for (const identity of JSON.parse(process.argv[2] ?? '')) eth0.apply(identity);`,
        resolveDir: import.meta.dirname,
        loader: 'ts',
      },
      outfile: program,
      bundle: true,
      platform: 'node',
      packages: 'external',
      alias: { '@offshoot/shared': join(import.meta.dirname, '../../../shared/src') },
      logLevel: 'error',
    });
  });
  afterAll(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const A = { mac: '02:00:00:00:00:0a', ipv4: '10.1.2.3', prefixLength: 24, gateway: '10.1.2.1' };
  const B = { mac: '02:00:00:00:00:0b', ipv4: '192.168.7.9', prefixLength: 20, gateway: '192.168.0.1' };

  /** Runs `prepare` (lines of `ip -batch`) and then the identities in a fresh namespace; returns what is there after. */
  function apply(
    prepare: string[],
    identities: object[],
  ): { addresses: string[]; routes: string; mac: string; up: boolean; neighbours: string } {
    const ip = [
      'link add eth0 type veth peer name peer0',
      'link set lo up',
      'link set peer0 up',
      'link set eth0 up',
      ...prepare,
    ].join('\n');
    const steps = [
      `printf '%s\\n' "$1" | ip -batch -`,
      `"$2" "$3" "$4"`,
      'ip -json addr show dev eth0; echo; ip -4 route; echo --; ip -4 neigh',
    ];
    const text = execFileSync(
      'unshare',
      ['--net', 'sh', '-ec', steps.join('\n'), 'sh', ip, process.execPath, program, JSON.stringify(identities)],
      { encoding: 'utf8', env: { ...process.env, NODE_PATH: join(import.meta.dirname, '../../../node_modules') } },
    );
    const end = text.indexOf('\n');
    const [json, rest] = [text.slice(0, end), text.slice(end + 1)];
    const [link] = JSON.parse(json) as [
      { address: string; flags: string[]; addr_info: { family: string; local: string; prefixlen: number }[] },
    ];
    const [routes = '', neighbours = ''] = rest.split('--\n');
    return {
      addresses: link.addr_info.filter((a) => a.family === 'inet').map((a) => `${a.local}/${String(a.prefixlen)}`),
      routes: routes.trim().replaceAll(/ +$/gm, ''),
      mac: link.address,
      up: link.flags.includes('UP'),
      neighbours: neighbours.trim(),
    };
  }

  const boot = ['addr add 10.0.2.15/24 dev eth0', 'route add default via 10.0.2.2'];
  const isB = {
    addresses: ['192.168.7.9/20'],
    mac: '02:00:00:00:00:0b',
    up: true,
    routes: 'default via 192.168.0.1 dev eth0\n192.168.0.0/20 dev eth0 proto kernel scope link src 192.168.7.9',
    neighbours: '',
  };

  it('leaves the new MAC, exactly one address and a default route', () => {
    expect(apply(boot, [B])).toEqual(isB);
  });

  it('works again and again, also with the identity it has', () => {
    expect(apply(boot, [A, A, B, B])).toEqual(isB);
  });

  it('takes every other address away, secondary and labelled ones too', () => {
    const others = [
      'addr add 10.0.2.16/24 dev eth0',
      'addr add 172.16.0.1/16 dev eth0 label eth0:1',
      'addr add 192.168.7.9/20 dev eth0',
      'addr add 172.16.0.2/16 dev eth0 label eth0:2',
    ];
    expect(apply([...boot, ...others], [B])).toEqual(isB);
  });

  it('replaces a default route when only the gateway changes', () => {
    const { routes } = apply(boot, [A, { ...A, gateway: '10.1.2.254' }]);
    expect(routes.split('\n').filter((line) => line.startsWith('default'))).toEqual([
      'default via 10.1.2.254 dev eth0',
    ]);
  });

  it('forgets all neighbours', () => {
    const known = ['neigh add 10.0.2.2 lladdr 02:00:00:00:00:01 nud reachable dev eth0'];
    expect(apply([...boot, ...known], [A]).neighbours).toBe('');
  });

  it('keeps the device up, and brings it up when it was down', () => {
    expect(apply([...boot, 'link set eth0 down'], [B])).toEqual(isB);
  });
});
