import {
  Corrupt,
  InvalidInput,
  InvalidState,
  Timeout,
  Unreachable,
  errnoOf,
  messageOf,
} from '@offshoot/shared/errors.js';
import { Client, errors } from 'undici';
import * as z from 'zod';

/** Far more than any answer asked for; the longest describe a VM's whole configuration. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** Most of an answer that is quoted. */
const QUOTED_CHARACTERS = 1000;

/** How one VMM's API differs from another's. */
export interface ApiDialect {
  /** The VMM's name in messages. */
  readonly vmm: string;
  /** Largest body it takes. */
  readonly maxRequestBytes: number;
  /** For calls that name no limit of their own. */
  readonly limitMs: number;
  /** Why it refused, out of the body of an answer that is an error; the body itself where it is of another shape. */
  faultOf(body: string): string;
}

export interface ApiCall {
  readonly method: 'GET' | 'PUT' | 'PATCH' | 'DELETE';
  /** With the leading slash. */
  readonly path: string;
  /** Sent as JSON; none when left out. */
  readonly body?: Readonly<Record<string, unknown>>;
  /** The dialect's when left out. */
  readonly limitMs?: number;
}

/**
 * A VMM's HTTP API on its Unix socket: one connection, made when it is needed and made again after it broke, one request at a
 * time in the order they were made. Such VMMs carry requests out one after the other, so a request that was given up may still
 * be carried out, but always before the next.
 *
 * Every call throws
 * - InvalidState `HYPERVISOR_REFUSED` with the VMM's own words for an answer that is an error,
 * - Unreachable `VMM_GONE` when nobody listens, or the VMM hangs up before the answer is whole,
 * - Timeout `VMM_API_TIMEOUT` after the call's limit,
 * - Corrupt `API_MALFORMED` for an answer that is not HTTP, not JSON, too long or of another shape,
 * - the signal's reason.
 */
export class HttpApi {
  private readonly client: Client;

  constructor(
    private readonly socket: string,
    private readonly dialect: ApiDialect,
  ) {
    this.client = new Client('http://localhost', {
      socketPath: socket,
      pipelining: 1,
      maxResponseSize: MAX_ANSWER_BYTES,
      // Each call has a limit of its own.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** Asks, and takes the answer apart. */
  async ask<T>(path: string, shape: z.ZodType<T>, signal?: AbortSignal): Promise<T> {
    const text = await this.call({ method: 'GET', path }, signal);
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      throw this.malformed(`no JSON to GET ${path}: ${quoted(text)}`, error);
    }
    const result = shape.safeParse(json);
    if (result.success) return result.data;
    throw this.malformed(`something else than expected to GET ${path}: ${result.error.message}`, result.error);
  }

  /** Has something done. @returns the body of the answer, which few of them have */
  async call(call: ApiCall, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    const { method, path, limitMs = this.dialect.limitMs } = call;
    const what = `${method} ${path}`;
    const body = call.body === undefined ? null : JSON.stringify(call.body);
    if (body !== null && Buffer.byteLength(body) > this.dialect.maxRequestBytes)
      throw InvalidInput.field(
        what,
        `${String(Buffer.byteLength(body))} bytes, ${this.dialect.vmm} takes at most ${String(this.dialect.maxRequestBytes)}`,
      );
    const limit = AbortSignal.timeout(limitMs);
    let status: number;
    let text: string;
    try {
      const answer = await this.client.request({
        method,
        path,
        body,
        headers: { accept: 'application/json', ...(body === null ? {} : { 'content-type': 'application/json' }) },
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      });
      status = answer.statusCode;
      text = await answer.body.text();
    } catch (error) {
      signal?.throwIfAborted();
      if (limit.aborted)
        throw new Timeout(`${this.dialect.vmm} did not answer ${what} within ${String(limitMs / 1000)} s`, {
          reason: 'VMM_API_TIMEOUT',
          metadata: { call: what },
          cause: error,
        });
      throw this.failed(what, error);
    }
    if (status >= 200 && status < 300) return text;
    throw new InvalidState(`${this.dialect.vmm} refused ${what}: ${quoted(this.dialect.faultOf(text))}`, {
      reason: 'HYPERVISOR_REFUSED',
      metadata: { call: what, status: String(status) },
    });
  }

  /** Hangs up; a call that is under way is told so. */
  async close(): Promise<void> {
    await this.client.destroy();
  }

  /** By undici's errors: whether the other side is gone or talks nonsense. */
  private failed(what: string, error: unknown): Error {
    if (error instanceof errors.HTTPParserError || NONSENSE.has(errnoOf(error) ?? ''))
      return this.malformed(`something that is no HTTP answer to ${what}: ${messageOf(error)}`, error);
    return new Unreachable(`${this.dialect.vmm}'s API, ${what}: ${messageOf(error)}`, {
      reason: 'VMM_GONE',
      metadata: { call: what, socket: this.socket },
      cause: error,
    });
  }

  private malformed(what: string, cause: unknown): Corrupt {
    return new Corrupt(`${this.dialect.vmm}'s API answered ${what}`, { reason: 'API_MALFORMED', cause });
  }
}

const NONSENSE: ReadonlySet<string> = new Set([
  'UND_ERR_RES_EXCEEDED_MAX_SIZE',
  'UND_ERR_HEADERS_OVERFLOW',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
]);

const quoted = (text: string): string =>
  text.length > QUOTED_CHARACTERS ? `${text.slice(0, QUOTED_CHARACTERS)} ...` : text;
