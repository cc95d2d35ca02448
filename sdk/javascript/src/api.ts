/** JSON as the caller of the fork wrote it, or any bytes. */
export type ContentType = 'json' | 'bytes';

/** `applied` and `failed` are the answer to a delivery; `received` is a sign of life before it. */
export type AckStage = 'received' | 'applied' | 'failed';

export interface ArmOptions {
  /** 1 to 128 bytes of UTF-8 without NUL; 128 random bits when left out. */
  readonly token?: string | undefined;
  /** Bytes the largest payload may have, 1 to 245760; 3840 when left out. */
  readonly capacity?: number | undefined;
}

export interface WaitOptions {
  /** For ever when left out. */
  readonly timeoutMs?: number | undefined;
  /** Leaves the delivery in the frames, so that `wait` gives it again; otherwise its payload is wiped from them. */
  readonly keep?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface AckOptions {
  /** How long to repeat it until the host has confirmed it; 30 s when left out. */
  readonly timeoutMs?: number | undefined;
}

/** What the host delivered. The payload is the caller's, to wipe as well: the library keeps no copy. */
export interface Delivery {
  readonly payload: Buffer;
  readonly contentType: ContentType;
  readonly generation: number;
}

/** A named mailbox in this process's own memory, from arming to disposal. */
export interface Mailbox {
  readonly name: string;
  /** Read from the frame, the only place where it is kept. */
  readonly token: string;
  /** In bytes; whole segments, so perhaps more than was asked for. */
  readonly capacity: number;

  /** Wipes what was delivered and arms the same pages with a new nonce; keeps the token unless another is given. */
  rearm(token?: string): Promise<void>;

  /**
   * Resolves when something is delivered.
   * @throws MailboxError `MAILBOX_EMPTY` when nothing is in time, `MAILBOX_FRAME_CORRUPT` for a torn delivery,
   *   `MAILBOX_CONSUMED` for one that was taken (until the next `rearm`), `MAILBOX_DISPOSED`; the signal's reason
   */
  wait(options?: WaitOptions): Promise<Delivery>;

  /**
   * Tells the host how it went (`applied` when left out), until it has confirmed that; then true. A detail that is too long
   * is cut. False where the delivery asks for no answer, or for one through an agent that is not there.
   * @throws MailboxError `ACK_UNCONFIRMED`, `MAILBOX_EMPTY` without a delivery, `INVALID_FIELD` for another stage
   */
  ack(stage?: AckStage, detail?: string, options?: AckOptions): Promise<boolean>;

  /** Wipes token and payload and gives the pages back. Ends a wait with `MAILBOX_DISPOSED`. Safe to repeat. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What went wrong, with a stable `reason` to branch on, as `MAILBOX_NAME_TAKEN`. */
export class MailboxError extends Error {
  override readonly name = 'MailboxError';

  constructor(
    readonly reason: string,
    message: string,
    /** The field that is wrong, as `checksum`, where the reason is `MAILBOX_FRAME_CORRUPT`. */
    readonly problem?: string,
  ) {
    super(message);
  }
}

/**
 * Arms a mailbox: from now on the host finds it in this process's memory.
 * @throws MailboxError `MAILBOX_NAME_MALFORMED`, `MAILBOX_NAME_RESERVED`, `MAILBOX_TOKEN_MALFORMED`, `INVALID_FIELD` for a
 *   capacity out of range, `MAILBOX_NAME_TAKEN` when the guest agent holds the name for somebody else
 */
export type Arm = (name: string, options?: ArmOptions) => Promise<Mailbox>;
