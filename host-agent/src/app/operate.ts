import type { RequestIdentity } from '../ports/answers.js';
import type { Context } from './context.js';
import type { IdempotentCalls } from './idempotent-calls.js';

/** Carries out what a caller asked for: once, where it gave its request an id, and undone when it goes away or the daemon stops. */
export function operate<Result>(
  context: Context,
  calls: IdempotentCalls,
  request: RequestIdentity | undefined,
  signal: AbortSignal,
  run: (context: Context, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  return context.underWay.run(signal, (s) => calls.once(request, (key) => run({ ...context, request: key }, s), s));
}
