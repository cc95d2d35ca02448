/** What belongs to nobody any more. */
export interface Leftover {
  /** Such as `folder of ID`. */
  readonly what: string;
  /** May do nothing where the removal of another one did it. */
  remove(): void | Promise<void>;
}
