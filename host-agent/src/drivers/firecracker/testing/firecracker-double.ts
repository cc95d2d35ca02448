import { existsSync, ftruncateSync, openSync, closeSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import * as shapes from './request-shapes.js';

const MIB = 1024 * 1024;
export const MAX_BODY_BYTES = 51_200;
export const DOUBLE_VERSION = '1.17.0-double';

export interface Answer {
  readonly status: number;
  readonly body: string;
  /** It cannot go on, and ends with exit status 1 once it has said so. */
  readonly ends?: true;
}

/** What a snapshot of the double has as its device state. */
const SAVED = z.strictObject({
  double: z.literal(1),
  memoryMib: z.int(),
  disks: z.array(z.string()),
  cards: z.array(z.string()),
  vsock: z.string().nullable(),
});

class Refused extends Error {
  constructor(
    message: string,
    readonly ends = false,
  ) {
    super(message);
  }
}

type Handler = (body: unknown, id: string) => unknown;

/**
 * Firecracker's API without VMs behind it, for machines where it is not: it refuses what the real one refuses, because of a
 * field it does not know, an order it does not allow or a state it is not in. That it is never more lenient is tested by
 * exchanges that both answer alike (`exchanges.ts`).
 */
export class FirecrackerDouble {
  private state: 'Not started' | 'Running' | 'Paused' = 'Not started';
  /** Something that belongs to a boot was configured: then nothing can be loaded any more. */
  private boots = false;
  private kernel = false;
  private memoryMib = 128;
  private tracked = false;
  private readonly disks = new Map<string, string>();
  private readonly cards = new Set<string>();
  private vsock: string | null = null;
  private console: string | undefined;

  /**
   * @param directory its working directory
   * @param onVsock told the absolute path on which it listens from now on
   */
  constructor(
    private readonly directory: string,
    private readonly onVsock: (path: string) => void = () => undefined,
  ) {}

  answer(method: string, path: string, body: string): Answer {
    try {
      if (Buffer.byteLength(body) > MAX_BODY_BYTES) return error('Request payload is larger than the limit');
      const result = this.handle(method, path, body);
      return result === undefined ? { status: 204, body: '' } : { status: 200, body: JSON.stringify(result) };
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      const answer = { status: 400, body: JSON.stringify({ fault_message: refusal.message }) };
      return refusal.ends ? { ...answer, ends: true } : answer;
    }
  }

  private handle(method: string, path: string, text: string): unknown {
    const [, resource = '', id = ''] = path.split('/');
    const handler = this.handlers()[`${method} ${resource}`];
    if (!['GET', 'PUT', 'PATCH'].includes(method)) throw new Refused('Invalid HTTP Method');
    if (method === 'GET' && text !== '') throw new Refused('GET request cannot have a body.');
    if (method !== 'GET' && text === '') throw new Refused(`Empty ${method} request.`);
    if (handler === undefined) throw new Refused(`Invalid request method and/or path: ${method} ${resource}.`);
    return handler(method === 'GET' ? undefined : json(text), id);
  }

  private handlers(): Readonly<Record<string, Handler | undefined>> {
    return {
      'GET ': () => ({
        id: 'double',
        state: this.state,
        vmm_version: DOUBLE_VERSION,
        app_name: 'Firecracker',
      }),
      'GET version': () => ({ firecracker_version: DOUBLE_VERSION }),
      'GET machine-config': () => ({
        vcpu_count: 1,
        mem_size_mib: this.memoryMib,
        smt: false,
        track_dirty_pages: this.tracked,
        huge_pages: 'None',
      }),
      'PUT machine-config': (body) => {
        this.configure(shapes.MACHINE, body, (machine) => {
          if (machine.vcpu_count < 1 || machine.vcpu_count > 32) throw new Refused('The number of vCPUs must be right');
          if (machine.mem_size_mib === 0) throw new Refused('The memory size (MiB) is either 0, or not right');
          this.memoryMib = machine.mem_size_mib;
          this.tracked = machine.track_dirty_pages ?? false;
        });
      },
      'PUT boot-source': (body) => {
        this.configure(shapes.BOOT_SOURCE, body, (boot) => {
          this.assertThere(boot.kernel_image_path, 'The kernel file cannot be opened');
          if (boot.initrd_path !== undefined) this.assertThere(boot.initrd_path, 'The initrd file cannot be opened');
          if ((boot.boot_args ?? '').length >= 2048) throw new Refused('The kernel command line is invalid');
          this.kernel = true;
        });
      },
      'PUT drives': (body, id) => {
        this.addDevice(shapes.DRIVE, body, id, 'drive_id', (drive) => {
          if (drive.path_on_host === undefined) throw new Refused('Invalid block config.');
          this.assertThere(drive.path_on_host, 'Error manipulating the backing file');
          this.disks.set(id, drive.path_on_host);
        });
      },
      'PUT network-interfaces': (body, id) => {
        this.addDevice(shapes.CARD, body, id, 'iface_id', () => {
          this.cards.add(id);
        });
      },
      'PUT vsock': (body) => {
        this.configure(shapes.VSOCK, body, ({ uds_path }) => {
          this.listen(uds_path);
        });
      },
      'PUT entropy': (body) => {
        this.configure(shapes.ENTROPY, body, () => undefined);
      },
      'PUT serial': (body) => {
        const { serial_out_path } = parsed(shapes.SERIAL, body);
        this.assertNotStarted();
        this.console = serial_out_path;
      },
      'PUT actions': (body) => {
        this.act(parsed(shapes.ACTION, body).action_type);
      },
      'PATCH vm': (body) => {
        const { state } = parsed(shapes.VM_STATE, body);
        this.assertStarted();
        this.state = state === 'Paused' ? 'Paused' : 'Running';
      },
      'PUT snapshot': (body, id) => {
        if (id === 'create') this.create(parsed(shapes.SNAPSHOT, body));
        else if (id === 'load') this.load(parsed(shapes.LOAD, body));
        else throw new Refused(id === '' ? 'Missing snapshot operation type.' : 'Invalid request method and/or path');
      },
    };
  }

  private configure<T>(shape: z.ZodType<T>, body: unknown, take: (config: T) => void): void {
    const config = parsed(shape, body);
    this.assertNotStarted();
    this.boots = true;
    take(config);
  }

  private addDevice<K extends string, T extends Readonly<Record<K, string>>>(
    shape: z.ZodType<T>,
    body: unknown,
    id: string,
    key: K,
    take: (config: T) => void,
  ): void {
    if (id === '') throw new Refused('The ID cannot be empty.');
    if (!/^\w+$/.test(id))
      throw new Refused('API Resource IDs can only contain alphanumeric characters and underscores.');
    const config = parsed(shape, body);
    if (config[key] !== id) throw new Refused('The id from the path does not match the id from the body!');
    if (this.state !== 'Not started') throw new Refused('PCI is not enabled');
    this.boots = true;
    take(config);
  }

  private act(action: 'FlushMetrics' | 'InstanceStart' | 'SendCtrlAltDel'): void {
    if (action !== 'InstanceStart') {
      this.assertStarted();
      return;
    }
    this.assertNotStarted();
    if (!this.kernel) throw new Refused('Cannot start microvm without kernel configuration.');
    this.state = 'Running';
    this.say('booted\n');
  }

  private create({ snapshot_path, mem_file_path }: z.infer<typeof shapes.SNAPSHOT>): void {
    this.assertStarted();
    if (this.state === 'Running') throw new Refused('Operation not allowed: save/restore unavailable while running');
    for (const [path, what] of [
      [snapshot_path, 'snapshot'],
      [mem_file_path, 'memory'],
    ] as const)
      this.assertThere(dirname(path), `Cannot perform open on the ${what} backing file`);
    const saved: z.infer<typeof SAVED> = {
      double: 1,
      memoryMib: this.memoryMib,
      disks: [...this.disks.values()],
      cards: [...this.cards],
      vsock: this.vsock,
    };
    writeFileSync(this.at(snapshot_path), JSON.stringify(saved));
    const memory = openSync(this.at(mem_file_path), 'a');
    ftruncateSync(memory, this.memoryMib * MIB);
    closeSync(memory);
  }

  private load(request: z.infer<typeof shapes.LOAD>): void {
    this.assertNotStarted();
    if (this.boots)
      throw new Refused('Loading a microVM snapshot not allowed after configuring boot-specific resources.');
    const saved = this.savedIn(request.snapshot_path);
    for (const { iface_id } of request.network_overrides ?? [])
      if (!saved.cards.includes(iface_id)) throw new Refused('Unknown Network Device.', true);
    if (request.vsock_override !== undefined && saved.vsock === null) throw new Refused('Unknown Vsock Device.', true);
    const memory = request.mem_backend.backend_path;
    this.assertThere(memory, 'Failed to load guest memory', true);
    if (statSync(this.at(memory)).size < saved.memoryMib * MIB)
      throw new Refused('Failed to restore guest memory', true);
    for (const disk of saved.disks) this.assertThere(disk, 'Error manipulating the backing file', true);
    if (saved.vsock !== null) this.listen(request.vsock_override?.uds_path ?? saved.vsock, true);
    this.memoryMib = saved.memoryMib;
    this.tracked = request.track_dirty_pages ?? false;
    this.state = request.resume_vm === true ? 'Running' : 'Paused';
    this.say('loaded\n');
  }

  private savedIn(path: string): z.infer<typeof SAVED> {
    this.assertThere(path, 'Failed to open snapshot file', true);
    try {
      return SAVED.parse(JSON.parse(readFileSync(this.at(path), 'utf8')));
    } catch {
      throw new Refused('Failed to load snapshot state from file', true);
    }
  }

  private listen(path: string, ends = false): void {
    this.assertThere(dirname(path), 'Error binding to the host-side Unix socket', ends);
    if (existsSync(this.at(path)))
      throw new Refused('Error binding to the host-side Unix socket: Address already in use', ends);
    this.vsock = path;
    this.onVsock(this.at(path));
  }

  private say(text: string): void {
    if (this.console !== undefined) writeFileSync(this.at(this.console), text, { flag: 'r+' });
  }

  private assertThere(path: string, what: string, ends = false): void {
    if (!existsSync(this.at(path))) throw new Refused(`${what}: No such file or directory (os error 2)`, ends);
  }

  private assertStarted(): void {
    if (this.state === 'Not started')
      throw new Refused('The requested operation is not supported before starting the microVM.');
  }

  private assertNotStarted(): void {
    if (this.state !== 'Not started')
      throw new Refused('The requested operation is not supported after starting the microVM.');
  }

  private readonly at = (path: string): string => resolve(this.directory, path);
}

/** What its HTTP server says itself has another shape. */
const error = (message: string): Answer => ({ status: 400, body: JSON.stringify({ error: message }) });

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Refused(`An error occurred when deserializing the json body of a request: ${String(cause)}`);
  }
}

function parsed<T>(shape: z.ZodType<T>, body: unknown): T {
  const result = shape.safeParse(body);
  if (result.success) return result.data;
  throw new Refused(`An error occurred when deserializing the json body of a request: ${result.error.message}`);
}
