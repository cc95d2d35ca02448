import type { IdentityParts } from './identity-steps.js';

/** For tests: parts that write down what they are told, instead of changing the machine the test runs on. */
export class RecordedParts implements IdentityParts {
  readonly calls: string[] = [];
  /** What the step of this name fails with. */
  readonly failures = new Map<string, Error>();
  time = 5000;
  hasHostKeys = false;

  readonly network = {
    apply: ({ ipv4 }: { ipv4: string }): void => {
      this.note('network', ipv4);
    },
  };
  readonly clock = {
    now: (): number => this.time,
    set: (unixMs: number): void => {
      this.note('clock', unixMs);
    },
  };
  readonly entropy = {
    add: (bytes: Buffer): void => {
      this.note('entropy', bytes.length);
    },
  };
  readonly names = {
    setHostname: (hostname: string): void => {
      this.note('hostname', hostname);
    },
    setMachineId: (machineId: string): void => {
      this.note('machine-id', machineId.length);
    },
  };
  readonly hostKeys = {
    remove: (): boolean => {
      this.note('host-keys', 'removed');
      return this.hasHostKeys;
    },
    renew: (): Promise<void> => {
      this.note('host-keys', 'renewed');
      return Promise.resolve();
    },
  };
  readonly credential = {
    set: (credential: Buffer): void => {
      this.note('credential', credential.toString('latin1'));
    },
    wipe: (): void => {
      this.note('credential', 'wiped');
    },
    rehearse: (credential: Buffer): void => {
      this.note('credential', `rehearsed, ${String(credential.length)}`);
    },
  };
  readonly generation = {
    current: 0,
    increment: (): void => {
      this.note('generation', (this.generation.current += 1));
    },
  };

  note(step: string, value: string | number = ''): void {
    const failure = this.failures.get(step);
    if (failure !== undefined) throw failure;
    this.calls.push(`${step} ${String(value)}`.trim());
  }
}
