import { RESERVED_VARIABLE } from '../domain/disk-layout.js';
import { quoted, type Violations } from './violations.js';

/** Of a variable the caller sets. */
export function checkNotReserved(field: string, name: string, violations: Violations): void {
  if (name.toUpperCase().startsWith(RESERVED_VARIABLE))
    violations.add(
      field,
      `names that begin with ${RESERVED_VARIABLE} are Offshoot's own, got ${quoted(name)}`,
      'VARIABLE_RESERVED',
    );
}
