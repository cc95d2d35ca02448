import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import type { HostLog } from './host-log.js';

/**
 * Kernel settings of the bridge (Documentation/networking/ip-sysctl.rst): a second lock behind the packet filter, against
 * what the host would otherwise do for a guest of its own accord.
 */
const SETTINGS: Readonly<Record<'ipv4' | 'ipv6', Readonly<Record<string, number>>>> = {
  ipv4: {
    rp_filter: 1, // only sources that are routed to the bridge
    arp_ignore: 1, // no answers for the host's other addresses
    arp_announce: 2,
    forwarding: 0,
    proxy_arp: 0,
    accept_redirects: 0,
    send_redirects: 0,
    accept_source_route: 0,
    route_localnet: 0,
  },
  ipv6: { accept_ra: 0, disable_ipv6: 1 },
};

/** Applies them to `device`. One that cannot be set (no IPv6, /proc read-only in a container) is logged: the filter holds without it. */
export async function applyInterfaceSettings(device: string, log: HostLog): Promise<void> {
  for (const [family, settings] of Object.entries(SETTINGS))
    for (const [setting, value] of Object.entries(settings)) {
      const path = join('/proc/sys/net', family, 'conf', device, setting);
      try {
        await writeFile(path, String(value), { flag: 'r+' });
      } catch (error) {
        const level = family === 'ipv6' && errnoOf(error) === 'ENOENT' ? 'debug' : 'warn';
        log[level]({ err: error, setting: path, value }, 'kernel setting of the bridge not applied');
      }
    }
}
