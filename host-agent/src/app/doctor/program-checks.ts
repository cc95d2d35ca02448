import { findProgram } from '../../os/program-path.js';
import { fail, pass, type Check } from './check.js';

/** Programs the daemon runs, by the package that has them, and what cannot be done without. */
const PACKAGES: readonly {
  readonly name: string;
  readonly programs: readonly string[];
  readonly without: string;
}[] = [{ name: 'e2fsprogs', programs: ['mkfs.ext4', 'e2fsck', 'debugfs'], without: 'images cannot be built' }];

export const PROGRAM_CHECKS: readonly Check[] = PACKAGES.map(({ name, programs, without }) => ({
  name,
  run: async () => {
    const found = await Promise.all(programs.map((program) => findProgram(program)));
    const missing = programs.filter((_, i) => found[i] === undefined);
    if (missing.length === 0) return pass(programs.join(', '));
    return fail(`${missing.join(', ')} not found: ${without}`, `install the package ${name}`);
  },
}));
