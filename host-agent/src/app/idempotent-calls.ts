import { InvalidInput } from '@offshoot/shared/errors.js';
import type { AnswerKey, Answers, KeptAnswer, RequestIdentity } from '../ports/answers.js';
import { abortable } from './abortable.js';
import type { ForkOutcome, ForkResult } from './commands.js';

/** A request that is being carried out. */
interface Flight {
  readonly request: RequestIdentity;
  /** Settles when it is over, however it ended; never rejects. */
  readonly over: Promise<void>;
  /** Why it failed, unless it did because its caller went away. */
  failure: { readonly error: unknown } | undefined;
}

/**
 * Requests with an id are carried out once: one that is repeated gets the first answer again, also after a restart of the
 * daemon, and one that comes while the first is under way waits for it. Only answers of success are kept, since a call that
 * failed has left nothing behind: it is tried anew (https://google.aip.dev/155).
 *
 * What is kept belongs to what was done, so an operation writes both together: see `Operation.record`.
 */
export class IdempotentCalls {
  private readonly flights = new Map<string, Flight>();

  constructor(private readonly answers: Answers) {}

  /** @throws InvalidInput with reason REQUEST_ID_REUSED when the id was that of another request */
  async once<Answer>(
    request: RequestIdentity | undefined,
    work: (key: AnswerKey | undefined) => Promise<Answer>,
    signal: AbortSignal,
  ): Promise<Answer> {
    if (request === undefined) return work(undefined);
    for (let flight = this.flightOf(request); flight !== undefined; flight = this.flightOf(request))
      await landing(flight, signal);
    const [kept] = this.kept(request);
    // Kept by this method alone: it has the type of the method's answers.
    if (kept !== undefined) return kept.answer as Answer;
    const key = { ...request, part: 0 };
    using flight = this.begin(request, signal);
    try {
      const answer = await work(key);
      this.answers.keep(key, answer);
      return answer;
    } catch (error) {
      flight.failed(error);
      throw error;
    }
  }

  /**
   * Several forks under one request, each with an answer of its own: those that stand are given again, `work` makes the
   * others.
   */
  async *each(
    request: RequestIdentity | undefined,
    work: (key: AnswerKey | undefined, wanted: (index: number) => boolean) => AsyncIterable<ForkOutcome>,
    count: number,
    signal: AbortSignal,
  ): AsyncGenerator<ForkOutcome, void, undefined> {
    if (request === undefined) {
      yield* work(undefined, () => true);
      return;
    }
    for (let flight = this.flightOf(request); flight !== undefined; flight = this.flightOf(request))
      await landing(flight, signal);
    const kept = new Map(this.kept(request).map(({ part, answer }) => [part, answer as ForkResult]));
    using flight = this.begin(request, signal);
    try {
      for (const [index, result] of kept) yield { index, result };
      if (kept.size < count) yield* work({ ...request, part: 0 }, (index) => !kept.has(index));
    } catch (error) {
      flight.failed(error);
      throw error;
    }
  }

  /** The call that carries this request out now, if one does: looked at again after each wait, since several may wait. */
  private flightOf(request: RequestIdentity): Flight | undefined {
    const flight = this.flights.get(request.id);
    if (flight !== undefined) assertSame(flight.request, request);
    return flight;
  }

  private kept(request: RequestIdentity): readonly KeptAnswer[] {
    const kept = this.answers.of(request.id);
    for (const each of kept) assertSame(each, request);
    return kept;
  }

  private begin(request: RequestIdentity, signal: AbortSignal): Disposable & { failed(error: unknown): void } {
    let end: () => void = () => undefined;
    const over = new Promise<void>((resolve) => {
      end = resolve;
    });
    const flight: Flight = { request, over, failure: undefined };
    this.flights.set(request.id, flight);
    return {
      failed: (error) => {
        if (!signal.aborted) flight.failure = { error };
      },
      [Symbol.dispose]: () => {
        this.flights.delete(request.id);
        end();
      },
    };
  }
}

/** Waits until a call is over. @throws what it failed with; not when it was given up, and somebody else may carry it out */
async function landing(flight: Flight, signal: AbortSignal): Promise<void> {
  await abortable(flight.over, signal);
  if (flight.failure !== undefined) throw flight.failure.error;
}

/**
 * INVALID_ARGUMENT, as the Idempotency-Key draft of the IETF has it (422): ALREADY_EXISTS would tell a caller that what it
 * asked for is there.
 */
function assertSame(first: RequestIdentity, { id, method, fingerprint }: RequestIdentity): void {
  if (first.method === method && first.fingerprint === fingerprint) return;
  throw InvalidInput.field(
    'request_id',
    `${JSON.stringify(id)} was the id of another request (${first.method.split('/').at(-1) ?? ''}): choose a new id for each request, and repeat a request with nothing changed`,
    'REQUEST_ID_REUSED',
  );
}
