import { readFileSync } from 'node:fs';
import { networkInterfaces, hostname, type NetworkInterfaceInfo } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import { runAgent } from './agent.js';
import { HostSource } from './channel/host-source.js';
import { HOOKS, HookDirectory } from './hooks/hook-directory.js';
import { CredentialFile } from './identity/credential-file.js';
import { Generation } from './identity/generation.js';
import { NameFiles } from './identity/name-files.js';
import { SshHostKeys } from './identity/ssh-host-keys.js';
import { wallClock } from './identity/wall-clock.js';
import { LOCAL_SOCKET } from './local/local-protocol.js';
import { log } from './log.js';
import { defaultGateway } from '@offshoot/shared/default-gateway.js';
import { NetworkInterface } from './network/network-interface.js';
import { addEntropy } from './os/kernel-random.js';
import { sync } from './os/libc.js';
import { powerOffAfter } from './power/power-off.js';
import { AGENT_VERSION } from './version.js';
import { WorkloadCgroup } from './workload/workload-cgroup.js';

/** The network card the image has under this name. */
const INTERFACE = 'eth0';

/** Time since this process began and since the machine did: where the seconds of a boot went. */
log(`${AGENT_VERSION} loaded after ${process.uptime().toFixed(2)} s`);
const names = new NameFiles();
const hostKeys = new SshHostKeys();
const generation = new Generation();
// A disk of another machine, booted: a fork of a stopped instance.
if (names.settle(readFileSync('/proc/cmdline', 'latin1')) && hostKeys.remove())
  hostKeys.renew().catch((error: unknown) => {
    log(messageOf(error));
  });
const ipv4Card = (): NetworkInterfaceInfo | undefined =>
  networkInterfaces()[INTERFACE]?.find(({ family }) => family === 'IPv4');
runAgent(
  {
    source: new HostSource(),
    localSocket: LOCAL_SOCKET,
    identity: {
      network: new NetworkInterface(INTERFACE),
      clock: wallClock,
      entropy: { add: addEntropy },
      names,
      hostKeys,
      credential: new CredentialFile(),
      generation,
    },
    present: () => {
      const card = ipv4Card();
      const gateway = defaultGateway();
      if (card?.cidr == null || gateway === undefined) return undefined;
      return {
        mac: card.mac,
        ipv4: card.address,
        prefixLength: Number(card.cidr.split('/')[1]),
        gateway,
        hostname: hostname(),
        machineId: names.machineId,
      };
    },
    describe: () => {
      const card = ipv4Card();
      return {
        hostname: hostname(),
        machineId: names.machineId,
        mac: card?.mac ?? '',
        ipv4: card?.address ?? '',
        gateway: defaultGateway() ?? '',
        generation: generation.current,
      };
    },
    hooks: {
      beforeSnapshot: new HookDirectory(join(HOOKS, 'before-snapshot.d')),
      afterFork: new HookDirectory(join(HOOKS, 'after-fork.d')),
    },
    workloads: WorkloadCgroup.open(),
    sync,
    powerOff: powerOffAfter,
  },
  new AbortController().signal,
).catch((error: unknown) => {
  log(messageOf(error));
  process.exit(1); // init starts another
});
