import { rm } from 'node:fs/promises';

/** A file or directory in the making: leaving the block removes it with all that is in it, unless {@link keep} was called. */
export class UnfinishedPath implements AsyncDisposable {
  private kept = false;

  constructor(private readonly path: string) {}

  /** It is whole, or has got another name. */
  keep(): void {
    this.kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.kept) await rm(this.path, { recursive: true, force: true });
  }
}
