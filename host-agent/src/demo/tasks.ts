/** The task a fork gets, as its payload. */
export interface Task {
  readonly primesBelow: number;
}

export const TASKS: readonly Task[] = [1000, 2000, 5000, 10_000].map((primesBelow) => ({ primesBelow }));

/** What the worker must answer, worked out here in another way (a sieve) than there. */
export function expectedAnswer({ primesBelow }: Task, address: string): string {
  const composite = new Uint8Array(primesBelow);
  let count = 0;
  for (let n = 2; n < primesBelow; n++) {
    if (composite[n] === 1) continue;
    count++;
    for (let multiple = n * n; multiple < primesBelow; multiple += n) composite[multiple] = 1;
  }
  return `${String(count)} primes below ${String(primesBelow)}, counted at ${address}`;
}
