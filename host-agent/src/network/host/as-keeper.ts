import { Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';

const WHY_NO_TAP: Readonly<Record<string, string>> = {
  ENOENT: 'there is no /dev/net/tun (kernel module tun)',
  ENODEV: 'the kernel has no tun driver behind /dev/net/tun',
  EACCES: 'no right to open /dev/net/tun',
  EPERM: 'no right to create network devices (CAP_NET_ADMIN)',
  EBUSY: 'another daemon with this state directory holds the network',
};

/**
 * Opens or makes the keeper (DeviceNames.keeper), first of all because it shows whether there are the rights.
 * @throws Unsupported saying what is missing
 */
export function asKeeper<Made>(make: () => Made): Made {
  try {
    return make();
  } catch (error) {
    const code = errnoOf(error) ?? '';
    throw new Unsupported(`${WHY_NO_TAP[code] ?? 'a TAP cannot be opened'}: ${messageOf(error)}`, {
      reason: 'TAP_UNAVAILABLE',
      metadata: { code },
      cause: error,
    });
  }
}
