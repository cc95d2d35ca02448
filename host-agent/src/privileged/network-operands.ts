import { deviceNames, type DeviceNames } from '../network/host/device-names.js';
import type { OpenPort } from '../network/host/guest-filter.js';
import { IdentityPool, MOST_KEPT_TAPS } from '../network/host/identity-pool.js';
import type { Subnet } from '../network/host/subnet.js';
import { assertCanonical } from './canonical-path.js';
import type { Configuration } from './configuration.js';
import type { Operand } from './operands.js';
import { quoted, refusal } from './refusal.js';

/** Those below are the machine's own services. */
const LOWEST_PORT = 1024;
const HIGHEST_PORT = 65_535;
const MOST_PORTS = 16;

const named = (name: string, of: (names: DeviceNames) => string): Operand => ({
  name,
  take: (word, configuration) => {
    subnetOf(configuration);
    const { stateDirectory } = configuration;
    const own = of(deviceNames(stateDirectory));
    if (word !== own)
      throw refusal(
        `${name} has to be ${own}, which is that of the state directory ${stateDirectory}, not ${quoted(word)}`,
      );
    assertCanonical(stateDirectory);
    return word;
  },
});

export const KEEPER = named('KEEPER', ({ keeper }) => keeper);
export const BRIDGE = named('BRIDGE', ({ bridge }) => bridge);
export const TABLE = named('TABLE', ({ table }) => table);

/** @throws InvalidInput where root allows no network */
export function subnetOf({ networkSubnet }: Configuration): Subnet {
  if (networkSubnet !== undefined) return networkSubnet;
  throw refusal('the configuration names no network_subnet');
}

/** The subnet of the configuration itself. */
export const SUBNET: Operand = {
  name: 'SUBNET',
  take: (word, configuration) => {
    const { cidr } = subnetOf(configuration);
    if (word === cidr) return word;
    throw refusal(`SUBNET has to be ${cidr}, which the configuration names, not ${quoted(word)}`);
  },
};

/** How many slots of the subnet have a TAP. */
export const COUNT: Operand = {
  name: 'COUNT',
  take: (word, configuration) => {
    const { capacity } = new IdentityPool(subnetOf(configuration), undefined, MOST_KEPT_TAPS);
    if (/^[1-9][0-9]{0,3}$/.test(word) && Number(word) <= capacity) return word;
    throw refusal(`COUNT has to be 1 to ${String(capacity)}, not ${quoted(word)}`);
  },
};

const LIST = 'open_ports=';

/** What guests may reach on the gateway. */
export const PORTS: Operand = {
  name: `${LIST}PROTOCOL:PORT,...`,
  take: (word, configuration) => {
    subnetOf(configuration);
    const ports = word.startsWith(LIST) ? portsOf(word) : [];
    if (ports.length > 0 && ports.length <= MOST_PORTS && ports.every(isPort)) return word;
    throw refusal(
      `the ports have to be ${LIST} and 1 to ${String(MOST_PORTS)} of udp:PORT or tcp:PORT, between commas, each ${String(LOWEST_PORT)} to ${String(HIGHEST_PORT)}, not ${quoted(word)}`,
    );
  },
};

/** @param word as {@link PORTS} takes it @returns NaN for what is no number */
export const portsOf = (word: string): OpenPort[] =>
  word
    .slice(LIST.length)
    .split(',')
    .map((item) => {
      const [, protocol, port] = /^(udp|tcp):([1-9][0-9]{0,4})$/.exec(item) ?? [];
      return { protocol: protocol === 'tcp' ? 'tcp' : 'udp', port: Number(port) };
    });

const isPort = ({ port }: OpenPort): boolean => port >= LOWEST_PORT && port <= HIGHEST_PORT;
