import type { Arm } from './api.js';
import { OwnMailbox } from './own-mailbox.js';

export * from './api.js';

export const arm: Arm = (name, options) => OwnMailbox.arm(name, options);
