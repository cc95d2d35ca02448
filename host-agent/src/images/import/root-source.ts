import type { DeclaredConfig } from './image-config.js';
import type { TarEntry } from '../tar/read-tar.js';

/** Entries of one layer, over those of the layers before it. */
export interface SourceLayer {
  /** Whether names that begin with `.wh.` take away what is below. */
  readonly whiteouts: boolean;
  /**
   * What is wrong with the whole is said at the end.
   * @param onBytes hears how much was unpacked
   */
  readonly entries: (onBytes: (count: number) => void, signal: AbortSignal) => AsyncIterable<TarEntry>;
}

/** A root file system to be put together. */
export interface RootSource {
  readonly layers: readonly SourceLayer[];
  readonly config: DeclaredConfig | undefined;
}
