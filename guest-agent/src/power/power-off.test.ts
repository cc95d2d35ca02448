import { expect, it } from 'vitest';
import { powerOffBy } from './power-off.js';

it.each([
  ['console=ttyS0 quiet\n', 'power off'],
  ['console=ttyS0 offshoot.power_off=reset reboot=k\n', 'reset'],
  ['offshoot.power_off=reset\n', 'reset'],
  ['xoffshoot.power_off=reset offshoot.power_off=resets\n', 'power off'],
])('a machine with the kernel command line %j is ended by %s', (commandLine, how) => {
  expect(powerOffBy(commandLine)).toBe(how);
});
