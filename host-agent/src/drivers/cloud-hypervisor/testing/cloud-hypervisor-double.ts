import { existsSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSocketServer } from 'node:net';
import { DoubleRefusal, field, parseFields, type Options } from './double-options.js';

type State = 'Created' | 'Running' | 'Paused';

interface Config {
  memory: { size: 0; zones: { id: string; size: number; file: string; shared: boolean }[] };
  disks: { id: string; path: string; image_type: string }[];
  net?: { id: string; mac: string; fds: number[] }[];
  vsock: { id: string; cid: number; socket: string };
  serial: { mode: string; socket: string };
  payload: { kernel: string; cmdline: string };
}

const MIB = 1024 * 1024;

/** Answers the API, says what happens, and refuses what the real one refuses; there is no guest in it, and no memory. */
export class CloudHypervisorDouble {
  private state: State = 'Created';
  private config: Config | undefined;
  private readonly api: Server;

  constructor(
    private readonly options: Options,
    private readonly nestedState: boolean,
  ) {
    this.api = createServer((request, response) => {
      this.answer(request, response);
    });
  }

  start(): void {
    this.api.listen({ fd: this.descriptor('--api-socket') });
    this.say('vmm', 'starting');
    if (this.options.has('--kernel')) this.boot(this.described());
    else this.restore(parseFields(this.option('--restore'), ['source_url', 'resume', 'net_fds']));
  }

  guestPowersOff(): void {
    if (!this.options.has('--no-shutdown')) {
      this.end();
      return;
    }
    this.shutDown();
  }

  /** As the real one: it would boot the machine again. */
  guestResets(): void {
    this.say('vm', 'rebooting');
    const { payload } = this.config ?? this.described();
    if (!existsSync(payload.kernel)) throw new DoubleRefusal('Cannot open the kernel: No such file or directory');
    this.say('vm', 'rebooted');
  }

  end(): void {
    if (this.state !== 'Created') this.shutDown();
    this.say('vm', 'deleted');
    this.say('vmm', 'shutdown');
    process.exit(0);
  }

  private described(): Config {
    const zone = parseFields(this.option('--memory-zone'), ['id', 'size', 'file', 'shared']);
    const disk = parseFields(this.option('--disk'), ['id', 'path', 'image_type']);
    const vsock = parseFields(this.option('--vsock'), ['id', 'cid', 'socket']);
    const net = this.options.get('--net');
    const card = net === undefined ? undefined : parseFields(net, ['id', 'fd', 'mac']);
    if (this.option('--memory') !== 'size=0') throw new DoubleRefusal('memory in zones, and beside them');
    return {
      memory: {
        size: 0,
        zones: [
          {
            id: field(zone, 'id'),
            size: Number(/^(\d+)M$/.exec(field(zone, 'size'))?.[1]) * MIB,
            file: field(zone, 'file'),
            shared: field(zone, 'shared') === 'on',
          },
        ],
      },
      disks: [{ id: field(disk, 'id'), path: field(disk, 'path'), image_type: field(disk, 'image_type') }],
      ...(card === undefined ? {} : { net: [{ id: field(card, 'id'), mac: field(card, 'mac'), fds: [7] }] }),
      vsock: { id: field(vsock, 'id'), cid: Number(field(vsock, 'cid')), socket: field(vsock, 'socket') },
      serial: { mode: 'Socket', socket: field(parseFields(this.option('--serial'), ['socket']), 'socket') },
      payload: { kernel: this.option('--kernel'), cmdline: this.option('--cmdline') },
    };
  }

  private boot(config: Config): void {
    this.say('vm', 'booting');
    readFileSyncOrRefuse(config.payload.kernel);
    this.assemble(config);
    this.state = 'Running';
    this.say('vm', 'booted');
  }

  private restore({ source_url: url = '', resume, net_fds: netFds }: Readonly<Record<string, string>>): void {
    const folder = url.replace(/^file:\/\//, '');
    const config = JSON.parse(readFileSyncOrRefuse(`${folder}/config.json`)) as Config;
    const state = JSON.parse(readFileSyncOrRefuse(`${folder}/state.json`)) as ReturnType<typeof stateOf>;
    const memory = JSON.parse(state.snapshots['memory-manager'].snapshot_data.state) as {
      memory_ranges: { data: unknown[] };
    };
    if (memory.memory_ranges.data.length > 0) readFileSyncOrRefuse(`${folder}/memory-ranges`);
    if (config.net !== undefined && !/^\[net@\[\d+\]\]$/.test(netFds ?? ''))
      throw new DoubleRefusal("Restore expects all net ids that have fds: 'net'");
    if (resume !== 'false') throw new DoubleRefusal('this double does not resume');
    this.say('vm', 'restoring');
    this.assemble(config);
    this.state = 'Paused';
    this.say('vm', 'restored');
  }

  /** Makes and opens what the machine has on its host. */
  private assemble(config: Config): void {
    const [zone] = config.memory.zones;
    const [disk] = config.disks;
    if (zone === undefined || disk === undefined) throw new DoubleRefusal('no memory, or no disk');
    if (statOrRefuse(zone.file) !== zone.size) throw new DoubleRefusal('the zone is larger than its file');
    statOrRefuse(disk.path);
    for (const socket of [config.serial.socket, config.vsock.socket]) {
      if (existsSync(socket)) throw new DoubleRefusal(`${socket}: Address already in use`);
      createSocketServer((connection) => connection.on('error', () => undefined).resume()).listen(socket);
    }
    this.config = config;
  }

  private shutDown(): void {
    if (this.config !== undefined) rmSync(this.config.serial.socket, { force: true });
    this.state = 'Created';
    this.say('vm', 'shutdown');
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      try {
        const answer = this.carryOut(`${String(request.method)} ${String(request.url)}`, body);
        response.writeHead(answer === undefined ? 204 : 200).end(answer);
      } catch (error) {
        if (!(error instanceof DoubleRefusal)) throw error;
        response.writeHead(500).end(JSON.stringify(['Error from API', error.message]));
      }
    });
  }

  private carryOut(call: string, body: string): string | undefined {
    switch (call) {
      case 'GET /api/v1/vmm.ping':
        return JSON.stringify({ build_version: 'v54.0', version: '54.0.0', pid: process.pid });
      case 'GET /api/v1/vm.info':
        return JSON.stringify({ config: this.config, state: this.state });
      case 'PUT /api/v1/vm.pause':
        this.change('Running', 'Paused');
        return undefined;
      case 'PUT /api/v1/vm.resume':
        this.change('Paused', 'Running');
        return undefined;
      case 'PUT /api/v1/vm.snapshot':
        this.snapshot((JSON.parse(body) as { destination_url: string }).destination_url.replace(/^file:\/\//, ''));
        return undefined;
      default:
        throw new DoubleRefusal(`${call} is not known`);
    }
  }

  private change(from: State, to: State): void {
    if (this.state !== from)
      throw new DoubleRefusal(`Invalid transition: InvalidStateTransition(${this.state}, ${to})`);
    this.state = to;
    this.say('vm', to === 'Paused' ? 'paused' : 'resumed');
  }

  private snapshot(folder: string): void {
    const zone = this.config?.memory.zones[0];
    if (this.state !== 'Paused' || zone === undefined)
      throw new DoubleRefusal('Trying to snapshot while VM is running');
    if (!this.nestedState)
      throw new DoubleRefusal('Could not get vCPU state GetNestedState(Invalid argument (os error 22)');
    if (!existsSync(folder)) throw new DoubleRefusal(`Destination is not a directory: "${folder}"`);
    const ranges = zone.shared ? [] : [{ gpa: 0, length: zone.size }];
    try {
      writeFileSync(`${folder}/config.json`, JSON.stringify(this.config), { flag: 'wx' });
      writeFileSync(`${folder}/state.json`, JSON.stringify(stateOf(zone.size, ranges)), { flag: 'wx' });
      if (!zone.shared) writeFileSync(`${folder}/memory-ranges`, Buffer.alloc(zone.size), { flag: 'wx' });
    } catch (error) {
      throw new DoubleRefusal(`Error creating "${folder}/memory-ranges": File exists (os error 17) (${String(error)})`);
    }
  }

  private say(source: string, event: string): void {
    const text = JSON.stringify({ timestamp: { secs: 0, nanos: 0 }, source, event, properties: null }, null, 2);
    writeSync(this.descriptor('--event-monitor'), `${text}\n\n`);
  }

  private option(name: string): string {
    const value = this.options.get(name);
    if (value === undefined) throw new DoubleRefusal(`${name} is missing`);
    return value;
  }

  private descriptor(name: string): number {
    return Number(field(parseFields(this.option(name), ['fd']), 'fd'));
  }
}

const stateOf = (size: number, ranges: readonly object[]) => ({
  snapshots: {
    'memory-manager': {
      snapshots: {},
      snapshot_data: {
        state: JSON.stringify({
          memory_ranges: { data: ranges },
          guest_ram_mappings: [{ slot: 0, gpa: 0, size, zone_id: 'ram', virtio_mem: false, file_offset: 0 }],
        }),
      },
    },
  },
  snapshot_data: { state: '{}' },
});

function readFileSyncOrRefuse(path: string): string {
  statOrRefuse(path);
  return readFileSync(path, 'latin1');
}

function statOrRefuse(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    throw new DoubleRefusal(
      `${path}: ${String(error).includes('ENOENT') ? 'No such file or directory' : String(error)}`,
    );
  }
}
