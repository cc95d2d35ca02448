/** VMMs without an owner. */
export interface OrphanProcesses {
  /** Ends every process that works in `directory`, and waits until it is gone. */
  endProcessesOf(directory: string): Promise<void>;
}
