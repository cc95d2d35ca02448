/**
 * Names in file systems are bytes, not text. Here they are strings of which each character is one byte (Latin-1), so that
 * they can be compared, split and kept as keys, and no name is changed by what is no UTF-8.
 */
export type ByteString = string;

export const toBytes = (text: ByteString): Buffer => Buffer.from(text, 'latin1');

export const fromBytes = (bytes: Buffer): ByteString => bytes.toString('latin1');

/** Of text that was never bytes, such as a path written in the code. */
export const fromText = (text: string): ByteString => Buffer.from(text).toString('latin1');

/** For messages: as UTF-8, with what is none replaced, quoted. */
export const shown = (text: ByteString): string => JSON.stringify(toBytes(text).toString('utf8'));
