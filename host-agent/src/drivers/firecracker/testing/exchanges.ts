/** A request, and how Firecracker answers it: seen with 1.17, and replayed against it where it is there. */
export interface Exchange {
  /** As `PUT /vm`. */
  readonly call: string;
  /** JSON unless it is a string, which is sent as it is; none when left out. */
  readonly body?: unknown;
  readonly status: 200 | 204 | 400;
  /** In the body of the answer: what kind of fault it is, or what is told. */
  readonly says?: RegExp;
  /** Whether the process ends after it. */
  readonly ends?: true;
}

/**
 * Exchanges with one process, one after the other. Its folder has a kernel, a disk, memory that is cut off (`short-memory`)
 * and state that is none (`noise`); with `loads`, also the snapshot `state`, `memory` that {@link BOOTS} makes.
 */
export interface Conversation {
  readonly name: string;
  readonly loads?: true;
  readonly exchanges: readonly Exchange[];
}

const UNKNOWN_FIELD = /unknown field|[Uu]nrecognized key/;
const MALFORMED = /deserializing the json body/;
const BEFORE_START = /not supported before starting/;
const AFTER_START = /not supported after starting/;
const NO_FILE = /No such file or directory/;

const ok = (call: string, body?: unknown): Exchange => ({ call, body, status: 204 });
const refused = (call: string, body: unknown, says: RegExp): Exchange => ({ call, body, status: 400, says });

const MACHINE = { vcpu_count: 1, mem_size_mib: 128 };
const KERNEL = { kernel_image_path: 'kernel', boot_args: 'a=b' };
const DISK = { drive_id: 'disk', path_on_host: 'disk', is_root_device: false, is_read_only: false };
const CARD = { iface_id: 'net', host_dev_name: 'no-such-tap' };
const VSOCK = { guest_cid: 3, uds_path: 'vsock' };
const SNAPSHOT = { snapshot_type: 'Diff', snapshot_path: 'state', mem_file_path: 'memory' };
const LOAD = {
  snapshot_path: 'state',
  mem_backend: { backend_type: 'File', backend_path: 'memory' },
  track_dirty_pages: true,
  resume_vm: false,
  vsock_override: { uds_path: 'fork.sock' },
};
const START = { action_type: 'InstanceStart' };

/** What has a body of JSON with these fields and no others. */
const BODIES: readonly (readonly [string, Readonly<Record<string, unknown>>, readonly string[]])[] = [
  ['PUT /machine-config', MACHINE, ['vcpu_count', 'mem_size_mib']],
  ['PUT /boot-source', KERNEL, ['kernel_image_path']],
  ['PUT /drives/disk', DISK, ['drive_id', 'is_root_device']],
  ['PUT /network-interfaces/net', CARD, ['iface_id', 'host_dev_name']],
  ['PUT /vsock', VSOCK, ['guest_cid', 'uds_path']],
  ['PUT /entropy', {}, []],
  ['PUT /serial', {}, []],
  ['PUT /actions', START, ['action_type']],
  ['PATCH /vm', { state: 'Paused' }, ['state']],
  ['PUT /snapshot/create', SNAPSHOT, ['snapshot_path', 'mem_file_path']],
  ['PUT /snapshot/load', LOAD, ['snapshot_path', 'mem_backend']],
];

const without = (body: Readonly<Record<string, unknown>>, field: string): unknown =>
  Object.fromEntries(Object.entries(body).filter(([key]) => key !== field));

const SHAPES: Conversation = {
  name: 'bodies of another shape',
  exchanges: BODIES.flatMap(([call, body, needed]) => [
    refused(call, { ...body, surprise: 1 }, UNKNOWN_FIELD),
    ...needed.map((field) => refused(call, without(body, field), /./)),
    ...needed.map((field) => refused(call, { ...body, [field]: { of: 'another type' } }, MALFORMED)),
    refused(call, '{"cut off', MALFORMED),
    refused(call, undefined, /Empty (PUT|PATCH) request/),
  ]),
};

const CALLS: Conversation = {
  name: 'calls that there are not',
  exchanges: [
    refused('GET /nothing', undefined, /Invalid request method/),
    refused('PUT /nothing', {}, /Invalid request method/),
    refused('PUT /vm', { state: 'Paused' }, /Invalid request method/),
    refused('GET /', {}, /cannot have a body/),
    refused('POST /actions', START, /Invalid HTTP Method/),
    refused('PUT /snapshot', {}, /Missing snapshot operation/),
    refused('PUT /snapshot/other', {}, /Invalid request method/),
    refused('PUT /drives', DISK, /ID cannot be empty/),
    refused('PUT /drives/di-sk', { ...DISK, drive_id: 'di-sk' }, /alphanumeric/),
    refused('PUT /drives/other', DISK, /does not match/),
    refused('PUT /network-interfaces/other', CARD, /does not match/),
  ],
};

const VALUES: Conversation = {
  name: 'values that cannot be',
  exchanges: [
    refused('PUT /machine-config', { ...MACHINE, vcpu_count: 0 }, /number of vCPUs/),
    refused('PUT /machine-config', { ...MACHINE, vcpu_count: 33 }, /number of vCPUs/),
    refused('PUT /machine-config', { ...MACHINE, mem_size_mib: 0 }, /memory size/),
    refused('PUT /boot-source', { kernel_image_path: 'nowhere' }, NO_FILE),
    refused('PUT /boot-source', { ...KERNEL, initrd_path: 'nowhere' }, /initrd/),
    refused('PUT /boot-source', { ...KERNEL, boot_args: 'x'.repeat(3000) }, /command line is invalid/),
    refused('PUT /boot-source', { ...KERNEL, boot_args: 'x'.repeat(60_000) }, /larger than the limit/),
    refused('PUT /drives/disk', { ...DISK, path_on_host: 'nowhere' }, NO_FILE),
    refused('PUT /drives/disk', { drive_id: 'disk', is_root_device: false }, /Invalid block config/),
    refused('PUT /network-interfaces/net', { ...CARD, guest_mac: 'no MAC' }, MALFORMED),
    refused('PUT /vsock', { ...VSOCK, uds_path: 'disk' }, /Address already in use/),
    refused('PUT /vsock', { ...VSOCK, uds_path: 'nowhere/vsock' }, NO_FILE),
    refused('PUT /serial', { rate_limiter: { size: 1 } }, MALFORMED),
    refused('PATCH /vm', { state: 'paused' }, MALFORMED),
    refused('PUT /actions', { action_type: 'Start' }, MALFORMED),
    refused('PUT /snapshot/create', { ...SNAPSHOT, snapshot_type: 'Half' }, MALFORMED),
    refused('PUT /snapshot/load', { ...LOAD, mem_backend: { ...LOAD.mem_backend, backend_type: 'Disk' } }, MALFORMED),
    refused('PUT /snapshot/load', { ...LOAD, mem_backend: { ...LOAD.mem_backend, surprise: 1 } }, UNKNOWN_FIELD),
  ],
};

const NOT_STARTED: Conversation = {
  name: 'what a VM that does not run cannot do',
  exchanges: [
    { call: 'GET /', status: 200, says: /"state":"Not started"/ },
    refused('PATCH /vm', { state: 'Paused' }, BEFORE_START),
    refused('PATCH /vm', { state: 'Resumed' }, BEFORE_START),
    refused('PUT /snapshot/create', SNAPSHOT, BEFORE_START),
    refused('PUT /actions', { action_type: 'SendCtrlAltDel' }, BEFORE_START),
    refused('PUT /actions', START, /without kernel configuration/),
    { call: 'GET /', status: 200, says: /"state":"Not started"/ },
  ],
};

/** Leaves the snapshot `state`, `memory`. */
export const BOOTS: Conversation = {
  name: 'a boot, a pause, a snapshot',
  exchanges: [
    ok('PUT /serial', {
      serial_out_path: 'console',
      rate_limiter: { size: 4096, one_time_burst: 65_536, refill_time: 1000 },
    }),
    ok('PUT /machine-config', MACHINE),
    ok('PUT /boot-source', KERNEL),
    ok('PUT /drives/disk', DISK),
    ok('PUT /vsock', VSOCK),
    ok('PUT /entropy', {}),
    refused('PUT /snapshot/load', LOAD, /after configuring boot-specific/),
    ok('PUT /actions', START),
    { call: 'GET /', status: 200, says: /"state":"Running"/ },
    { call: 'GET /machine-config', status: 200, says: /"track_dirty_pages":false/ },
    refused('PUT /snapshot/create', SNAPSHOT, /while running/),
    refused('PUT /actions', START, AFTER_START),
    refused('PUT /machine-config', MACHINE, AFTER_START),
    refused('PUT /boot-source', KERNEL, AFTER_START),
    refused('PUT /vsock', { ...VSOCK, uds_path: 'another.sock' }, AFTER_START),
    refused('PUT /entropy', {}, AFTER_START),
    refused('PUT /serial', {}, AFTER_START),
    refused('PUT /snapshot/load', LOAD, AFTER_START),
    refused('PUT /drives/more', { ...DISK, drive_id: 'more' }, /PCI is not enabled|not supported after starting/),
    refused('PUT /network-interfaces/net', CARD, /PCI is not enabled|not supported after starting/),
    ok('PATCH /vm', { state: 'Resumed' }),
    ok('PATCH /vm', { state: 'Paused' }),
    ok('PATCH /vm', { state: 'Paused' }),
    { call: 'GET /', status: 200, says: /"state":"Paused"/ },
    refused('PUT /snapshot/create', { ...SNAPSHOT, snapshot_path: 'nowhere/state' }, NO_FILE),
    refused('PUT /snapshot/create', { ...SNAPSHOT, mem_file_path: 'nowhere/memory' }, NO_FILE),
    ok('PUT /snapshot/create', SNAPSHOT),
    ok('PUT /snapshot/create', SNAPSHOT),
    ok('PATCH /vm', { state: 'Resumed' }),
    { call: 'GET /', status: 200, says: /"state":"Running"/ },
  ],
};

const LOADS: Conversation = {
  name: 'a load',
  loads: true,
  exchanges: [
    ok('PUT /serial', { serial_out_path: 'console' }),
    ok('PUT /snapshot/load', LOAD),
    { call: 'GET /', status: 200, says: /"state":"Paused"/ },
    { call: 'GET /machine-config', status: 200, says: /"track_dirty_pages":true/ },
    refused('PUT /snapshot/load', LOAD, AFTER_START),
    refused('PUT /actions', START, AFTER_START),
    ok('PUT /snapshot/create', { ...SNAPSHOT, snapshot_path: 'state-2', mem_file_path: 'memory-2' }),
    ok('PATCH /vm', { state: 'Resumed' }),
    { call: 'GET /', status: 200, says: /"state":"Running"/ },
  ],
};

/** Each ends the process. */
const LOADS_NOTHING = (
  [
    ['the state is missing', { ...LOAD, snapshot_path: 'nowhere' }, NO_FILE],
    ['the state is none', { ...LOAD, snapshot_path: 'noise' }, /Failed to load snapshot state/],
    ['the memory is missing', { ...LOAD, mem_backend: { ...LOAD.mem_backend, backend_path: 'nowhere' } }, NO_FILE],
    [
      'the memory is cut off',
      { ...LOAD, mem_backend: { ...LOAD.mem_backend, backend_path: 'short-memory' } },
      /Failed to restore guest memory/,
    ],
    [
      'the card is unknown',
      { ...LOAD, network_overrides: [{ iface_id: 'net', host_dev_name: 'tap' }] },
      /Unknown Network Device/,
    ],
    ["the vsock's place is taken", { ...LOAD, vsock_override: { uds_path: 'disk' } }, /Address (already )?in use/],
  ] as const
).map(([why, body, says]): Conversation => ({
  name: `a load that ends it, because ${why}`,
  loads: true,
  exchanges: [{ call: 'PUT /snapshot/load', body, status: 400, says, ends: true }],
}));

export const CONVERSATIONS: readonly Conversation[] = [
  SHAPES,
  CALLS,
  VALUES,
  NOT_STARTED,
  BOOTS,
  LOADS,
  ...LOADS_NOTHING,
];
