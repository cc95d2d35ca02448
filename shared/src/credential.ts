/** Length of a credential in characters: 256 random bits in base64url without padding (RFC 4648, section 5). */
export const CREDENTIAL_LENGTH = 43;

/** What a credential looks like: one line of ASCII without blanks, fit for a header, a file and a shell. */
export const CREDENTIAL_PATTERN = /^[A-Za-z0-9_-]{43}$/;
