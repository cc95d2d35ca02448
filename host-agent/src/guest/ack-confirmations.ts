/**
 * Tells a guest which of its acks were heard: one call at a time, the next with all that came in the meantime, so that a
 * guest that repeats itself costs no more than one that does not. What a lost call said is said again when the guest
 * repeats the ack in its next session.
 */
export class AckConfirmations {
  private waiting = new Set<bigint>();
  private running = false;

  /** @param confirm the call; a rejection of it ends what is under way */
  constructor(private readonly confirm: (nonces: bigint[]) => Promise<unknown>) {}

  /** @param nonce one that is expected of this guest, never any that it names: there are no more than its deliveries */
  add(nonce: bigint): void {
    this.waiting.add(nonce);
    if (!this.running) void this.run();
  }

  private async run(): Promise<void> {
    this.running = true;
    try {
      while (this.waiting.size > 0) {
        const nonces = [...this.waiting];
        this.waiting = new Set();
        await this.confirm(nonces);
      }
    } catch {
      this.waiting.clear(); // the session is over
    } finally {
      this.running = false;
    }
  }
}
