/** VMMs without an owner. */
export interface OrphanProcesses {
  /** Ends every process that works in one of the folders, and waits until they are gone. */
  endProcessesOf(directories: readonly string[]): Promise<void>;
}
