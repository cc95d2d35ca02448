/** A request under the id its caller gave it: what a repeated one must have in common with the first. */
export interface RequestIdentity {
  /** The caller's `request_id`. */
  readonly id: string;
  /** Full name of the gRPC method. */
  readonly method: string;
  /** SHA-256 over everything else in the request. */
  readonly fingerprint: string;
}

/** Where an answer belongs: a call that answers one thing has one part, number 0. */
export interface AnswerKey extends RequestIdentity {
  readonly part: number;
}

export interface KeptAnswer extends AnswerKey {
  /** As it was given, through JSON. */
  readonly answer: unknown;
}

/**
 * Answers of requests that succeeded, for those who ask again: for 24 hours, and a bounded number of them. Synchronous, so
 * that an answer and the rows it speaks of can be written together: see `Journal.atomically`.
 */
export interface Answers {
  /** By part. */
  of(requestId: string): readonly KeptAnswer[];
  /** Over the one kept under the same key, if there is one. */
  keep(key: AnswerKey, answer: unknown): void;
  /** What the answer spoke of has been undone. */
  forget(key: AnswerKey): void;
}
