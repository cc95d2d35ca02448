import { MAILBOX_CHECKS } from './mailbox-checks.js';
import { described, survivorsOf } from './survivors.js';

// `make mutants`: fails when a check of a mailbox can be taken out and no unit test fails.
const { tried, survivors } = await survivorsOf(MAILBOX_CHECKS);
for (const mutant of survivors) console.log(described(mutant));
console.log(`${String(tried - survivors.length)} of ${String(tried)} mutants are noticed`);
process.exitCode = survivors.length === 0 ? 0 : 1;
