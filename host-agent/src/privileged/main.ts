import { PLACES, runHelper } from './run-helper.js';

process.umask(0o077);
process.exitCode = await runHelper(process.argv.slice(2), process.env.SUDO_UID ?? '', PLACES);
