import { once } from 'node:events';
import { status, type handleServerStreamingCall, type handleUnaryCall } from '@grpc/grpc-js';
import { Unreachable } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { RequestIdentity } from '../ports/answers.js';
import { callCancelled, callDeadline, errorStatus, type ErrorStatus } from './error-status.js';
import { requestIdentity } from './request-identity.js';
import { assertText } from './strict-text.js';

/** Whether a call changes something: such calls are logged always, the others only at debug level. */
export type CallEffect = 'reads' | 'changes';

interface RunningCall {
  readonly abort: AbortController;
  readonly kind: 'unary' | 'stream';
  readonly settled: Promise<void>;
}

/** What a call of any kind is to the code around its handler. */
interface CallSurface {
  getPath(): string;
  getDeadline(): Date | number;
  on(event: 'cancelled', listener: () => void): unknown;
}

/** How a handler ended, and how that is told to the client. */
interface Outcome {
  readonly answer: () => void;
  readonly failure?: { readonly error: unknown; readonly status: ErrorStatus };
}

/** setTimeout's limit; a deadline further away is none. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Every handler runs in here: awaited, its errors mapped, its signal ended by the client's cancellation, the call's
 * deadline or the daemon's stop, its request identified where the caller gave it an id, logged by method, duration and status. grpc-js itself does none of that: an async handler
 * that rejects would leave the client hanging.
 */
export class CallRunner {
  readonly #running = new Set<RunningCall>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  unary<Request, Response>(
    effect: CallEffect,
    handler: (
      request: Request,
      signal: AbortSignal,
      identity: RequestIdentity | undefined,
    ) => Promise<Response> | Response,
  ): handleUnaryCall<Request, Response> {
    return (call, respond) => {
      this.#run('unary', effect, call, async (signal) => {
        try {
          assertText(call.request);
          const response = await handler(call.request, signal, requestIdentity(call.getPath(), call.request));
          return {
            answer: () => {
              respond(null, response);
            },
          };
        } catch (error) {
          return failed(error, signal, respond);
        }
      });
    };
  }

  /** Messages are taken from the handler one by one, no faster than the client reads them. */
  stream<Request, Response>(
    effect: CallEffect,
    handler: (request: Request, signal: AbortSignal, identity: RequestIdentity | undefined) => AsyncIterable<Response>,
  ): handleServerStreamingCall<Request, Response> {
    return (call) => {
      this.#run('stream', effect, call, async (signal) => {
        try {
          assertText(call.request);
          const identity = requestIdentity(call.getPath(), call.request);
          for await (const message of handler(call.request, signal, identity)) {
            signal.throwIfAborted();
            if (!call.write(message)) await once(call, 'drain', { signal });
          }
          return {
            answer: () => {
              call.end();
            },
          };
        } catch (error) {
          return failed(error, signal, (refusal) => call.emit('error', refusal));
        }
      });
    };
  }

  /** Ends what would go on for ever: streams. Unary calls go on. */
  endStreams(): void {
    for (const call of this.#running) if (call.kind === 'stream') call.abort.abort(stopping());
  }

  endAll(): void {
    for (const call of this.#running) call.abort.abort(stopping());
  }

  /** Resolves when no handler is at work any more, those of cancelled calls (they undo) included. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all([...this.#running].map((call) => call.settled));
  }

  #run(
    kind: RunningCall['kind'],
    effect: CallEffect,
    call: CallSurface,
    work: (signal: AbortSignal) => Promise<Outcome>,
  ): void {
    const started = performance.now();
    const abort = new AbortController();
    let answered = false;
    const deadline = Number(call.getDeadline());
    const remaining = deadline - Date.now();
    const expire = (): void => {
      abort.abort(callDeadline());
    };
    const timer = remaining < MAX_TIMER_MS ? setTimeout(expire, remaining) : undefined;
    // grpc-js emits 'cancelled' also after a good answer, and when its own deadline timer was first.
    call.on('cancelled', () => {
      if (!answered) abort.abort(Date.now() >= deadline ? callDeadline() : callCancelled());
    });
    const settle = async (): Promise<void> => {
      const outcome = await work(abort.signal);
      clearTimeout(timer);
      this.#running.delete(running);
      this.#log(call.getPath(), effect, performance.now() - started, outcome);
      answered = true;
      outcome.answer();
    };
    const running: RunningCall = { abort, kind, settled: settle() };
    this.#running.add(running);
  }

  #log(method: string, effect: CallEffect, elapsedMs: number, { failure }: Outcome): void {
    const durationMs = Math.round(elapsedMs * 1000) / 1000;
    if (failure === undefined) {
      this.#logger[effect === 'changes' ? 'info' : 'debug']({ method, durationMs, status: 'OK' }, 'call');
      return;
    }
    const { code, details, errorId } = failure.status;
    const entry = { method, durationMs, status: status[code] };
    if (errorId === undefined) this.#logger.info({ ...entry, answer: details }, 'call failed');
    else this.#logger.error({ ...entry, errorId, err: failure.error }, 'call failed by a defect');
  }
}

function failed(error: unknown, signal: AbortSignal, send: (refusal: ErrorStatus) => void): Outcome {
  const answer = errorStatus(error, signal);
  return {
    answer: () => {
      send(answer);
    },
    failure: { error, status: answer },
  };
}

const stopping = (): Unreachable => new Unreachable('the daemon is stopping', { reason: 'DAEMON_STOPPING' });
