/** An open byte channel to the host. One read and one write at a time; neither may block the process. */
export interface ByteConnection {
  /**
   * Whether the channel outlives both its ends, as a serial port does: then a host that was talking to the agent before has to
   * be told that it is gone. Other connections end with an agent.
   */
  readonly outlivesAgent: boolean;
  /**
   * Reads at least one byte; 0 means that no host is connected now, and that one may come.
   * @returns undefined when this connection is over: the source has, or will have, another
   */
  read(into: Buffer): Promise<number | undefined>;
  /** Writes some of `bytes` and says how many; waits as long as the host takes nothing. */
  write(bytes: Buffer): Promise<number>;
  close(): Promise<void>;
}

/** Where the byte channel comes from: the virtio-serial port, vsock. */
export interface ByteSource {
  /** Waits for a host where it has to come first. @throws NotFound when the device is not there (yet) */
  open(): Promise<ByteConnection>;
}
