/**
 * As Promise.all, but settles only when every promise has: after a failure nothing goes on in the background with a file
 * or a memory that the caller is about to close. Rejects with the first failure in order.
 */
export async function awaitAll<Value>(promises: Iterable<Promise<Value>>): Promise<Value[]> {
  const outcomes = await Promise.allSettled(promises);
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}
