import { existsSync, writeSync } from 'node:fs';
import { messageOf } from '@offshoot/shared/errors.js';
import { VERSION } from '../version.js';
import { answerCall } from './answer-call.js';
import { appendEntry } from './call-log.js';
import { readConfiguration } from './configuration.js';
import { EXIT } from './contract.js';
import { onOneLine } from './refusal.js';
import { DEVICES, type VolumeDevices } from './volume-devices.js';
import { findIn, runCleared } from './run-program.js';

/** Where things are on a machine; no caller has a say in it. */
export interface HelperPlaces {
  readonly configuration: string;
  /** Of calls where the configuration names no other log, or is not to be trusted. */
  readonly log: string;
  readonly programs: readonly string[];
  readonly devices: VolumeDevices;
}

export const PLACES: HelperPlaces = {
  configuration: '/etc/offshoot/privileged.json',
  log: '/var/log/offshoot-privileged.log',
  programs: ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
  devices: DEVICES,
};

/** Answers one call, as root. @param caller user id, as sudo gives it @returns the exit status */
export async function runHelper(call: readonly string[], caller: string, places: HelperPlaces): Promise<number> {
  const complain = (line: string): void => {
    writeSync(2, `${line}\n`);
  };
  const print = (text: string): void => {
    writeSync(1, text);
  };
  if (process.geteuid?.() !== 0) {
    complain('offshoot-privileged: refused: root has to run it, by sudo -n');
    return EXIT.refused;
  }
  return await answerCall(call, {
    version: VERSION,
    caller,
    configuration: () => readConfiguration(places.configuration),
    log: (path, entry) => {
      appendEntry(path ?? places.log, { time: new Date(), caller, ...entry });
    },
    find: (program) => findIn(places.programs, program),
    hasTaps: () => existsSync('/dev/net/tun'),
    run: (path, args) => runCleared(path, args, places.programs),
    begin: async (deed, args, configuration, owner) => {
      // Each with foreign functions, which nothing else needs.
      if (deed === 'fill volume') {
        const { fillVolume, openSource } = await import('./volume-copy.js');
        const [path = '', dataset = ''] = args;
        const source = await openSource(path, owner);
        return () => fillVolume(source, path, dataset, places.devices);
      }
      const { perform } = await import('./network-deeds.js');
      const warn = (message: string, details: object): void => {
        print(`${warning(message, details)}\n`);
      };
      return () => perform(deed, args, { configuration, owner, programs: places.programs, warn });
    },
    print,
    complain,
  });
}

/** On one line, for the daemon's log. */
function warning(message: string, details: object): string {
  const words = Object.entries(details).map(([key, value]) => `${key} ${messageOf(value)}`);
  return onOneLine([message, ...words].join(', '));
}
