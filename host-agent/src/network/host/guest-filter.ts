import type { NetworkIdentity } from '../../domain/network-identity.js';
import type { DeviceNames } from './device-names.js';

/** A port of the gateway that guests may reach. */
export interface OpenPort {
  readonly protocol: 'udp' | 'tcp';
  readonly port: number;
}

/** The only part of the filter that changes while the daemon runs. */
const OPEN_PORTS = 'open_ports';

const element = ({ protocol, port }: OpenPort): string => `${protocol} . ${String(port)}`;
const elements = (list: readonly string[]): string => (list.length === 0 ? '' : `elements = { ${list.join(', ')} }`);

/** Both tables are dropped, whether or not they are there (`destroy` came only with nftables 1.0.8). */
export const removeFilter = ({ table }: DeviceNames): string =>
  ['bridge', 'inet'].map((family) => `table ${family} ${table}\ndelete table ${family} ${table}\n`).join('');

/** Replaces the ports guests may reach. */
export const replaceOpenPorts = ({ table }: DeviceNames, ports: readonly OpenPort[]): string =>
  `flush set inet ${table} ${OPEN_PORTS}\n` +
  (ports.length === 0 ? '' : `add element inet ${table} ${OPEN_PORTS} { ${ports.map(element).join(', ')} }\n`);

/**
 * The packet filter for the whole pool, to be loaded in one transaction which replaces what was there; there is no moment
 * without it. It is written so that what is not named is dropped:
 *
 * - `from_guest`: a frame enters the bridge from a TAP only as IPv4 with exactly the MAC and IPv4 of that TAP's slot, or
 *   as ARP that states exactly these, both in the Ethernet header and inside, and asks for nobody but the gateway. A fork
 *   that wakes as its source is thus cut off until it has taken its own identity. IPv6, VLAN tags, DHCP and router
 *   advertisements have no rule and so no way in.
 * - `between_guests`: nothing goes from port to port, whatever its addresses.
 * - `link_local`: frames to 01:80:c2:00:00:0x skip the bridge's prerouting hook and are handed up as the TAP's own, past
 *   everything that looks for the bridge; those to :0e (LLDP) skip this hook as well (br_handle_frame in the kernel's
 *   net/bridge/br_input.c). For these, `to_host` matches the TAPs' own names too, and TAPs do no ARP (see netdevice.ts).
 * - `to_host`: guests reach the gateway's address on the open ports, and nothing else of the host.
 * - `routed`: the host forwards nothing for guests, should its ip_forward be on.
 */
export function guestFilter(
  names: DeviceNames,
  gateway: string,
  identities: Iterable<NetworkIdentity>,
  openPorts: readonly OpenPort[],
): string {
  const { table, bridge, tapPrefix } = names;
  const known = Array.from(identities, ({ slot, mac, ipv4 }) => `"${names.tap(slot)}" . ${mac} . ${ipv4}`);
  const arp = 'ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4';
  const arpIdentity =
    'iifname . ether saddr . arp saddr ip @identities iifname . arp saddr ether . arp saddr ip @identities';
  return `${removeFilter(names)}
table bridge ${table} {
  set identities {
    type ifname . ether_addr . ipv4_addr
    ${elements(known)}
  }
  chain from_guest {
    ether type ip iifname . ether saddr . ip saddr @identities accept
    ${arp} arp operation request arp daddr ip ${gateway} ${arpIdentity} accept
    ${arp} arp operation reply ${arpIdentity} accept
    counter drop
  }
  chain identity {
    type filter hook prerouting priority dstnat; policy accept;
    iifname "${tapPrefix}*" jump from_guest
  }
  chain between_guests {
    type filter hook forward priority filter; policy accept;
    iifname "${tapPrefix}*" counter drop
    oifname "${tapPrefix}*" counter drop
  }
  chain link_local {
    type filter hook input priority filter; policy accept;
    iifname "${tapPrefix}*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop
  }
}
table inet ${table} {
  set ${OPEN_PORTS} {
    type inet_proto . inet_service
    ${elements(openPorts.map(element))}
  }
  chain to_host {
    type filter hook input priority filter; policy accept;
    iifname "${bridge}" ip daddr ${gateway} meta l4proto . th dport @${OPEN_PORTS} accept
    iifname "${bridge}" counter drop
    iifname "${tapPrefix}*" counter drop
  }
  chain routed {
    type filter hook forward priority filter; policy accept;
    iifname "${bridge}" counter drop
    oifname "${bridge}" counter drop
    iifname "${tapPrefix}*" counter drop
    oifname "${tapPrefix}*" counter drop
  }
}
`;
}
