import { setFlagsFromString } from 'node:v8';

/**
 * From here on V8 neither compiles anew what runs often nor throws away what has not run for long. Either would fall into a
 * fork's first milliseconds: compiled code is new code, which an emulator has to translate before the fork's answer, and a
 * job of the optimiser that was under way in the capture goes on in every fork, on a processor the fork needs (438 ms of it
 * seen). The agent moves bytes and waits; it is not slower by this that could be told.
 *
 * Not at the start: V8 refuses code caches, Node's own among them, that were made under other flags, so all modules have to be
 * loaded by then.
 */
export function keepCodeAsItIs(): void {
  for (const flag of ['--no-opt', '--no-sparkplug', '--no-flush-bytecode', '--no-regexp-tier-up'])
    setFlagsFromString(flag);
}
