import { Aborted } from '@offshoot/shared/errors.js';

interface Flight<Value> {
  readonly promise: Promise<Value>;
  readonly controller: AbortController;
  waiting: number;
  landed: boolean;
}

/**
 * Work that is done once for all who want its result at the same time, and whose result is kept. A failure is not kept;
 * work that nobody waits for any more is cancelled.
 */
export class SingleFlight<Value> {
  private flight: Flight<Value> | undefined;

  constructor(private readonly work: (signal: AbortSignal) => Promise<Value>) {}

  /** @throws whatever the work throws, or Aborted when this caller's signal ends first */
  async get(signal?: AbortSignal): Promise<Value> {
    if (signal?.aborted === true) throw given(signal);
    const flight = (this.flight ??= this.start());
    flight.waiting++;
    let onAbort: (() => void) | undefined;
    try {
      return await new Promise<Value>((resolve, reject) => {
        flight.promise.then(resolve, reject);
        if (signal === undefined) return;
        onAbort = () => {
          reject(given(signal));
        };
        signal.addEventListener('abort', onAbort, { once: true });
      });
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
      flight.waiting--;
      if (flight.waiting === 0 && !flight.landed) {
        this.forget(flight);
        flight.controller.abort();
      }
    }
  }

  private start(): Flight<Value> {
    const controller = new AbortController();
    const flight: Flight<Value> = { promise: this.work(controller.signal), controller, waiting: 0, landed: false };
    flight.promise.then(
      () => {
        flight.landed = true;
      },
      () => {
        flight.landed = true;
        this.forget(flight);
      },
    );
    return flight;
  }

  private forget(flight: Flight<Value>): void {
    if (this.flight === flight) this.flight = undefined;
  }
}

const given = (signal: AbortSignal): Aborted =>
  new Aborted('looking for mailboxes was cancelled', { reason: 'CANCELLED', cause: signal.reason });
