import type { ImageId, InstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { OperationName, StepOf } from '../domain/operations.js';
import type { Context } from './context.js';
import { UndoStack } from './undo-stack.js';

type Books = Pick<Context, 'journal' | 'answers' | 'request' | 'store' | 'files' | 'logger'>;

/**
 * An operation as a list of steps, each with its undo, and with its place in the journal: a failure is undone here, a
 * killed daemon's operation by the next one, which reads there how far it came. Begun once everything has been checked.
 */
export class Operation<Step extends string = string> extends UndoStack {
  private released = false;

  private constructor(
    private readonly books: Books,
    private readonly id: number,
    private readonly whole: Operation | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {
    super(books.logger);
  }

  /**
   * @param instance the one it changes; of one that makes an instance, the step that did says which
   * @param signal the caller's: once it ends, the step `record` is not taken any more, and all is undone. Undefined where
   *   going on does less harm than going back
   * @param whole what this is a part of: undone with it, also when this part has come to its end
   */
  static begin<Name extends OperationName>(
    books: Books,
    name: Name,
    instance: InstanceId | undefined,
    signal: AbortSignal | undefined,
    whole?: Operation,
  ): Operation<StepOf<Name>> {
    const entry = { operation: name, instance, image: undefined, request: books.request, partOf: whole?.id };
    return new Operation<StepOf<Name>>(books, books.journal.begin(entry), whole, signal);
  }

  /** Of one that is about an image and no instance, and goes on when its caller is gone. */
  static beginOfImage<Name extends OperationName>(books: Books, name: Name, image: ImageId): Operation<StepOf<Name>> {
    const entry = { operation: name, instance: undefined, image, request: books.request, partOf: undefined };
    return new Operation<StepOf<Name>>(books, books.journal.begin(entry), undefined, undefined);
  }

  /**
   * Writes down that a step has been taken. Where that fails the operation goes on: what the next daemon does follows from
   * the rows, and a VM that was just handed over must not be lost for a line in a journal.
   */
  reached(step: Step): void {
    try {
      this.books.journal.reached(this.id, step);
    } catch (error) {
      this.books.logger.error({ err: error, step }, 'a step could not be written down');
    }
  }

  /** Takes the step `reserve`. @param instance the one this operation makes */
  reserved(instance: InstanceId): void {
    this.books.journal.reached(this.id, 'reserve', instance);
  }

  /**
   * Takes the step `record`: the row gets the outcome, and at once with it the caller's answer is kept, so that no death of
   * the daemon comes between the two; the folder's record follows. A caller that is gone by now gets no outcome.
   * @param before what to put back when the operation fails after all; left out where there is no way back
   */
  async record(
    after: Instance,
    { durable, before, answer }: { readonly durable: boolean; readonly before?: Instance; readonly answer: unknown },
  ): Promise<void> {
    this.signal?.throwIfAborted();
    const { journal, answers, request, store, files } = this.books;
    // Of a part that may yet be undone with its whole, the whole keeps it.
    const key = this.whole === undefined ? request : undefined;
    if (before !== undefined)
      this.push('put the record back', async () => {
        journal.atomically(() => {
          store.update(before);
          if (key !== undefined) answers.forget(key);
        });
        await files.save(before, { durable: false });
      });
    journal.atomically(() => {
      store.update(after);
      if (key !== undefined) answers.keep(key, answer);
      journal.reached(this.id, 'record');
    });
    await files.save(after, { durable });
  }

  /** Takes the step `record` of an operation that leaves no instance. */
  recordGone(instance: InstanceId): void {
    const { journal, answers, request, store } = this.books;
    journal.atomically(() => {
      store.delete(instance);
      if (request !== undefined) answers.keep(request, undefined);
      journal.reached(this.id, 'record');
    });
  }

  /**
   * Takes the step `record` of an operation on something else than an instance: its rows, if it has any, change and its answer is
   * kept at once.
   * @param undo of the rows; left out where there is no way back
   */
  recordRows(change: () => void, { answer, undo }: { readonly answer: unknown; readonly undo?: () => void }): void {
    this.signal?.throwIfAborted();
    const { journal, answers, request } = this.books;
    if (undo !== undefined)
      this.push('put the record back', () => {
        journal.atomically(() => {
          undo();
          if (request !== undefined) answers.forget(request);
        });
      });
    journal.atomically(() => {
      change();
      if (request !== undefined) answers.keep(request, answer);
      journal.reached(this.id, 'record');
    });
  }

  /** All of it has come to its end, at once with its parts, which stand from here on. @param parts their answers */
  stand(parts: ReadonlyMap<number, unknown>): void {
    const { journal, answers, request } = this.books;
    journal.atomically(() => {
      if (request !== undefined) for (const [part, answer] of parts) answers.keep({ ...request, part }, answer);
      journal.end(this.id);
    });
    this.release();
  }

  override release(): void {
    super.release();
    this.released = true;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    // What may still have to be undone with the whole stays in the journal until the whole ends.
    if (!this.released || this.whole === undefined) this.books.journal.end(this.id);
  }
}
