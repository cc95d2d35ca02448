// Run before each test file: switches on the mutant whose turn it is.
import { inject } from 'vitest';

globalThis.offshootMutant = inject('offshootMutant');
