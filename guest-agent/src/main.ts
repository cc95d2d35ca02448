import { messageOf } from '@offshoot/shared/errors.js';
import { runAgent } from './agent.js';
import { VirtioSerialSource } from './channel/virtio-serial.js';
import { LOCAL_SOCKET } from './local/local-protocol.js';
import { log } from './log.js';
import { NetworkInterface } from './network/network-interface.js';
import { powerOffAfter } from './power/power-off.js';
import { AGENT_VERSION } from './version.js';

/** The network card the image has under this name. */
const INTERFACE = 'eth0';

/** Time since this process began and since the machine did: where the seconds of a boot went. */
log(`${AGENT_VERSION} loaded after ${process.uptime().toFixed(2)} s`);
runAgent(
  {
    source: new VirtioSerialSource(),
    localSocket: LOCAL_SOCKET,
    network: new NetworkInterface(INTERFACE),
    powerOff: powerOffAfter,
  },
  new AbortController().signal,
).catch((error: unknown) => {
  log(messageOf(error));
  process.exit(1); // init starts another
});
