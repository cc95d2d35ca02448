/** Reads a stream to its end, for what is said there or on the way. */
export async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  const chunks = stream[Symbol.asyncIterator]();
  while ((await chunks.next()).done !== true);
}
