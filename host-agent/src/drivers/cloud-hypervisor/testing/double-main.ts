import { CloudHypervisorDouble } from './cloud-hypervisor-double.js';
import { DoubleRefusal, parseOptions } from './double-options.js';

/**
 * The double as a program, with as much of Cloud Hypervisor's command line as is used of it. Its guest does what signals say:
 * SIGHUP, it powers off; SIGUSR2, it resets the machine.
 */
const argv = process.argv.slice(2);
const nestedState = argv[0] !== '--no-nested-state';
if (!nestedState) argv.shift();
try {
  if (argv[0] === '--version') console.log('cloud-hypervisor v54.0');
  else {
    const double = new CloudHypervisorDouble(parseOptions(argv), nestedState);
    process.on('SIGHUP', () => {
      double.guestPowersOff();
    });
    process.on('SIGUSR2', () => {
      double.guestResets();
    });
    process.on('SIGTERM', () => {
      double.end();
    });
    double.start();
  }
} catch (error) {
  if (!(error instanceof DoubleRefusal)) throw error;
  console.error(`Error: ${error.message}`);
  process.exit(1);
}
