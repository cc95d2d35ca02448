import type { ImportBudget } from './import-limits.js';
import type { RootSource } from './root-source.js';

/** A disk that is ready but for the agent; nothing else reads or writes it. */
export interface DiskSource {
  readonly disk: string;
}

export interface OpenOptions {
  /** Empty folder for what has to be unpacked or fetched first. */
  readonly scratch: string;
  readonly budget: ImportBudget;
  readonly signal: AbortSignal;
}

/** What an image is imported from. */
export interface ImageSource {
  /** Equal content has an equal identity. */
  readonly identity: string;
  /** @throws InvalidState IMAGE_SOURCE_CHANGED when it is no longer what it was identified as, now or while it is read */
  open(options: OpenOptions): Promise<RootSource | DiskSource>;
}
