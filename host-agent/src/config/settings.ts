import * as z from 'zod';
import { STORAGE_NAMES } from '../domain/storage-name.js';

/** Root's own is refused: a jail whose user may do everything holds nobody. The highest one stands for "none". */
const USER_NUMBER = 'a number from 1 to 4294967294';
const OPTIONAL_USER = z.union(
  [z.literal(''), z.coerce.number(USER_NUMBER).int(USER_NUMBER).min(1, USER_NUMBER).max(4_294_967_294, USER_NUMBER)],
  USER_NUMBER,
);

/**
 * Every setting: its key in the configuration file, what it must be, its default and its meaning. The environment variable
 * (`network.mode` -> OFFSHOOT_NETWORK_MODE) and the flag (`--network-mode`) follow from the key.
 */
export const SETTINGS = {
  state_dir: {
    schema: z.string().startsWith('/', 'an absolute path'),
    default: '/var/lib/offshoot',
    placeholder: 'DIR',
    help: 'directory with everything the daemon keeps',
  },
  images_dir: {
    schema: z.string().regex(/^$|^\//, 'an absolute path, or empty for images/ in the state directory'),
    default: '',
    placeholder: 'DIR',
    help: 'directory of images, which several daemons may share',
  },
  'images.max_bytes': {
    schema: z.coerce
      .number('a whole number of bytes, or 0 for no limit')
      .int('a whole number of bytes, or 0 for no limit')
      .min(0, 'a whole number of bytes, or 0 for no limit'),
    default: 0,
    placeholder: 'BYTES',
    help: 'what images may take together; 0: no limit',
  },
  listen: {
    schema: z
      .string()
      .regex(
        /^(unix:\/\/\/.+|tcp:\/\/(127\.0\.0\.1|localhost|\[::1\]):\d{1,5})$/,
        'unix:///PATH or tcp://127.0.0.1:PORT',
      ),
    default: 'unix:///run/offshoot/api.sock',
    placeholder: 'ADDRESS',
    help: 'where the API is served',
  },
  log_level: {
    schema: z.enum(
      ['fatal', 'error', 'warn', 'info', 'debug', 'trace'],
      'one of fatal, error, warn, info, debug, trace',
    ),
    default: 'info',
    placeholder: 'LEVEL',
    help: 'how much is logged',
  },
  'network.mode': {
    schema: z.enum(['auto', 'tap', 'user'], 'one of auto, tap, user'),
    default: 'auto',
    placeholder: 'MODE',
    help: 'how instances are attached: tap (bridge and nftables), user (no rights needed), or auto',
  },
  'network.subnet': {
    schema: z
      .string()
      .regex(
        /^\d{1,3}(\.\d{1,3}){3}\/(1[6-9]|2[0-8])$/,
        'an IPv4 network with a prefix of 16 to 28, like 10.213.0.0/20',
      ),
    default: '10.213.0.0/20',
    placeholder: 'CIDR',
    help: 'addresses of instances; the first is the host',
  },
  'qemu.binary': {
    schema: z.string().min(1, 'a program name or path'),
    default: 'qemu-system-x86_64',
    placeholder: 'PROGRAM',
    help: 'QEMU to run',
  },
  'qemu.accelerator': {
    schema: z.enum(['auto', 'kvm', 'tcg'], 'one of auto, kvm, tcg'),
    default: 'auto',
    placeholder: 'NAME',
    help: 'kvm, tcg, or auto: kvm where it runs code',
  },
  'firecracker.binary': {
    schema: z.string().min(1, 'a program name or path'),
    default: 'firecracker',
    placeholder: 'PROGRAM',
    help: 'Firecracker to run',
  },
  'firecracker.jailer': {
    schema: z.string(),
    default: '',
    placeholder: 'PROGRAM',
    help: "Firecracker's jailer, by which each Firecracker runs in a jail as another user; none when empty",
  },
  'firecracker.jailer_uid': {
    schema: OPTIONAL_USER,
    default: '',
    placeholder: 'UID',
    help: 'user a jailed Firecracker runs as',
  },
  'firecracker.jailer_gid': {
    schema: OPTIONAL_USER,
    default: '',
    placeholder: 'GID',
    help: 'group a jailed Firecracker runs as',
  },
  'cloud_hypervisor.binary': {
    schema: z.string().min(1, 'a program name or path'),
    default: 'cloud-hypervisor',
    placeholder: 'PROGRAM',
    help: 'Cloud Hypervisor to run',
  },
  'storage.driver': {
    schema: z.enum(['auto', ...STORAGE_NAMES], `one of auto, ${STORAGE_NAMES.join(', ')}`),
    default: 'auto',
    placeholder: ['auto', ...STORAGE_NAMES].join('|'),
    help: 'how disks of new instances are kept; auto: the best that the host has and their hypervisor reads',
  },
  'storage.zfs_dataset': {
    schema: z
      .string()
      .regex(
        /^$|^[A-Za-z][A-Za-z0-9_.:-]*(\/[A-Za-z0-9_][A-Za-z0-9_.:-]*)*$/,
        'a ZFS dataset like tank/offshoot, or empty for none',
      ),
    default: '',
    placeholder: 'DATASET',
    help: 'ZFS dataset for disks; this daemon alone may use it',
  },
  'privileged.helper': {
    schema: z.string().regex(/^$|^\//, 'an absolute path, or empty for none'),
    default: '',
    placeholder: 'PROGRAM',
    help: 'offshoot-privileged, by which a daemon that is not root has root do what it may not, with sudo -n',
  },
  'limits.instances': {
    schema: z.coerce
      .number('a whole number from 1 to 4000')
      .int('a whole number from 1 to 4000')
      .min(1, 'a whole number from 1 to 4000')
      .max(4000, 'a whole number from 1 to 4000'),
    default: 1000,
    placeholder: 'N',
    help: 'most instances at a time',
  },
  'limits.memory_reserve_mib': {
    schema: z.coerce
      .number('a whole number of MiB from 0 to 67108864')
      .int('a whole number of MiB from 0 to 67108864')
      .min(0, 'a whole number of MiB from 0 to 67108864')
      .max(67_108_864, 'a whole number of MiB from 0 to 67108864'),
    default: 256,
    placeholder: 'MIB',
    help: 'memory of the host that no boot, fork or restore may use',
  },
  'limits.boot_seconds': {
    schema: z.coerce.number('seconds from 1 to 600').min(1, 'seconds from 1 to 600').max(600, 'seconds from 1 to 600'),
    default: 120,
    placeholder: 'SECONDS',
    help: 'how long a boot may take until the agent answers',
  },
  'limits.pause_seconds': {
    schema: z.coerce.number('seconds from 1 to 600').min(1, 'seconds from 1 to 600').max(600, 'seconds from 1 to 600'),
    default: 30,
    placeholder: 'SECONDS',
    help: 'how long a running instance may stand still for a fork or snapshot of it',
  },
} as const satisfies Record<string, { schema: z.ZodType; default: string | number; placeholder: string; help: string }>;

export type SettingKey = keyof typeof SETTINGS;
export const SETTING_KEYS = Object.keys(SETTINGS) as SettingKey[];

/** The effective configuration, by key. */
export type Settings = { readonly [Key in SettingKey]: z.output<(typeof SETTINGS)[Key]['schema']> };

export const environmentVariable = (key: SettingKey): string => `OFFSHOOT_${key.replace('.', '_').toUpperCase()}`;
export const flagName = (key: SettingKey): string => `--${key.replace(/[._]/g, '-')}`;
