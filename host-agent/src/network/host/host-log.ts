/** What code that root's helper runs, too, has to say besides its outcome. The daemon's logger is one. */
export interface HostLog {
  debug(details: object, message: string): void;
  warn(details: object, message: string): void;
}
