import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from '@offshoot/host-agent/domain/instance.js';
import type { LocatedFrame } from '@offshoot/host-agent/mailbox/located-frame.js';
import { FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import type { TestHost } from './test-host.js';

interface Index {
  readonly registered: readonly LocatedFrame[];
  readonly scan: { readonly frames: readonly LocatedFrame[] };
}

/** A frame in the memory file of a parked VM, where the kept index of its mailboxes says that it is. */
export class ParkedFrame {
  private constructor(
    private readonly memory: string,
    private readonly offset: number,
  ) {}

  /** @param name of a mailbox of one frame; the parked VM's memory has been searched */
  static async of(host: TestHost, instance: string, name: string): Promise<ParkedFrame> {
    const { directory } = (await host.get(instance)).instance!;
    const contentOf = (file: string): unknown => JSON.parse(readFileSync(join(directory, file), 'utf8'));
    const { registered, scan } = contentOf('mailboxes.json') as Index;
    const places = new Set(
      [...registered, ...scan.frames].filter((frame) => frame.name === name).map(({ gpa }) => gpa),
    );
    if (places.size !== 1) throw new Error(`${String(places.size)} frames of mailbox ${name} stand in ${instance}`);
    const [place = 0] = places;
    const { capture } = contentOf('instance.json') as Instance;
    const region = capture!.regions.find(({ gpa, size }) => place >= gpa && place < gpa + size)!;
    return new ParkedFrame(join(directory, 'memory'), region.fileOffset + place - region.gpa);
  }

  /** Changes the frame behind the daemon's back: the file's stamp stays the one of the capture. Undone by disposing. */
  change(spoil: (page: Buffer) => void): Disposable {
    const before = Buffer.alloc(FRAME_SIZE);
    const file = openSync(this.memory, 'r');
    readSync(file, before, 0, before.length, this.offset);
    closeSync(file);
    const changed = Buffer.from(before);
    spoil(changed);
    this.write(changed);
    return {
      [Symbol.dispose]: () => {
        this.write(before);
      },
    };
  }

  private write(page: Buffer): void {
    const stamp = `${this.memory}.stamp`;
    // By name, not by number: a time in nanoseconds does not fit into one of Node's.
    execFileSync('touch', ['-r', this.memory, stamp]);
    try {
      const file = openSync(this.memory, 'r+');
      writeSync(file, page, 0, page.length, this.offset);
      closeSync(file);
      execFileSync('touch', ['-r', stamp, this.memory]);
    } finally {
      rmSync(stamp);
    }
  }
}
