import { InvalidInput, type FieldViolation } from '@offshoot/shared/errors.js';

/** Collects what is wrong with one request, so that its caller hears of everything at once. */
export class Violations {
  readonly #found: FieldViolation[] = [];
  readonly #reasons = new Set<string>();

  /** @param description what would be right, and what was there; never a payload, token, or value of the environment */
  add(field: string, description: string, reason = 'INVALID_FIELD'): void {
    this.#found.push({ field, description });
    this.#reasons.add(reason);
  }

  /** @throws InvalidInput with all violations; its reason is their common one, else INVALID_FIELD */
  check(): void {
    if (this.#found.length === 0) return;
    const [reason, ...others] = this.#reasons;
    throw new InvalidInput(this.#found.map(({ field, description }) => `${field}: ${description}`).join('; '), {
      reason: reason === undefined || others.length > 0 ? 'INVALID_FIELD' : reason,
      violations: this.#found,
    });
  }
}

/** A value as it may stand in a message: quoted, control characters escaped, not longer than a line. */
export function quoted(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
}

/** Parses with all violations collected. @throws InvalidInput */
export function collecting<T>(parse: (violations: Violations) => T): T {
  const violations = new Violations();
  const parsed = parse(violations);
  violations.check();
  return parsed;
}
