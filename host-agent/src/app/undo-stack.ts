import type { Logger } from 'pino';

/**
 * What must be undone if the operation does not come to its end. Every step pushes its own undo as soon as it is done;
 * leaving the block undoes them in reverse order, unless {@link release} was called.
 */
export class UndoStack implements AsyncDisposable {
  private steps: { readonly what: string; readonly undo: () => void | Promise<void> }[] = [];

  constructor(private readonly logger: Logger) {}

  push(what: string, undo: () => void | Promise<void>): void {
    this.steps.push({ what, undo });
  }

  /** The operation succeeded: nothing is undone any more. */
  release(): void {
    this.steps = [];
  }

  /** Undoes what is left. A step that fails is logged and does not keep the others from running, nor hide the first error. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        this.logger.error({ err: error, step: step.what }, 'undo failed');
      }
    }
  }
}
