/** Exit codes of `offshoot-guest`; README.md lists them for users. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  timeout: 3,
  agentUnreachable: 4,
  notArmed: 5,
  ackUnconfirmed: 6,
} as const;

/** By the reason the agent gives; anything else is `failed`. */
export const EXIT_BY_REASON: Readonly<Record<string, number>> = {
  INVALID_FIELD: EXIT.usage,
  MAILBOX_NAME_MALFORMED: EXIT.usage,
  MAILBOX_NAME_RESERVED: EXIT.usage,
  MAILBOX_TOKEN_MALFORMED: EXIT.usage,
  MAILBOX_EMPTY: EXIT.timeout,
  MAILBOX_NOT_ARMED: EXIT.notArmed,
  MAILBOX_DISPOSED: EXIT.notArmed,
  ACK_UNCONFIRMED: EXIT.ackUnconfirmed,
  ACK_SUPERSEDED: EXIT.ackUnconfirmed,
};
