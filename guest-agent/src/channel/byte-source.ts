/** An open byte channel to the host. One read and one write at a time; neither may block the process. */
export interface ByteConnection {
  /** Reads at least one byte; 0 means that no host is connected now, and that one may come. */
  read(into: Buffer): Promise<number>;
  /** Writes some of `bytes` and says how many; waits as long as the host takes nothing. */
  write(bytes: Buffer): Promise<number>;
  close(): Promise<void>;
}

/** Where the byte channel comes from: the virtio-serial port, vsock. */
export interface ByteSource {
  /** @throws NotFound when the device is not there (yet) */
  open(): Promise<ByteConnection>;
}
