import { writeSync } from 'node:fs';
import { VERSION } from '../version.js';
import { answerCall } from './answer-call.js';
import { appendEntry } from './call-log.js';
import { readConfiguration } from './configuration.js';
import { EXIT } from './contract.js';
import { findIn, runCleared } from './run-program.js';

/** Where things are on a machine; no caller has a say in it. */
export interface HelperPlaces {
  readonly configuration: string;
  /** Of calls where the configuration names no other log, or is not to be trusted. */
  readonly log: string;
  readonly programs: readonly string[];
}

export const PLACES: HelperPlaces = {
  configuration: '/etc/offshoot/privileged.json',
  log: '/var/log/offshoot-privileged.log',
  programs: ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
};

/** Answers one call, as root. @param caller user id, as sudo gives it @returns the exit status */
export async function runHelper(call: readonly string[], caller: string, places: HelperPlaces): Promise<number> {
  const complain = (line: string): void => {
    writeSync(2, `${line}\n`);
  };
  if (process.geteuid?.() !== 0) {
    complain('offshoot-privileged: refused: root has to run it, by sudo -n');
    return EXIT.refused;
  }
  return await answerCall(call, {
    version: VERSION,
    configuration: () => readConfiguration(places.configuration),
    log: (path, entry) => {
      appendEntry(path ?? places.log, { time: new Date(), caller, ...entry });
    },
    find: (program) => findIn(places.programs, program),
    run: (path, args) => runCleared(path, args, places.programs),
    print: (text) => {
      writeSync(1, text);
    },
    complain,
  });
}
