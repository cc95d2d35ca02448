import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OffshootError, messageOf } from '@offshoot/shared/errors.js';
import { Command } from 'commander';
import { pino, type Logger } from 'pino';
import { DiskStorages } from './app/disk-storages.js';
import { HostService } from './app/host-service.js';
import { greetGuests } from './app/greet-guests.js';
import { IdempotentCalls } from './app/idempotent-calls.js';
import { ImageService } from './app/image-service.js';
import { ownUsersOf } from './app/image-users.js';
import { InstanceService } from './app/instance-service.js';
import { closeContext, openContext } from './app/open-context.js';
import { recover } from './app/recover.js';
import { SnapshotService } from './app/snapshot-service.js';
import { UndoStack } from './app/undo-stack.js';
import type { Dependencies } from './app/dependencies.js';
import { jailSettings } from './config/jail-settings.js';
import { DEFAULT_FILE, loadSettings, type LoadedSettings } from './config/load-settings.js';
import { SETTINGS, SETTING_KEYS, flagName, type SettingKey } from './config/settings.js';
import type { DriverName } from './domain/driver-capabilities.js';
import { LIVE_STATES } from './domain/instance-state.js';
import { CloudHypervisorDriver } from './drivers/cloud-hypervisor/cloud-hypervisor-driver.js';
import { DECLARED_DRIVERS } from './drivers/declared-driver.js';
import { FirecrackerDriver } from './drivers/firecracker/firecracker-driver.js';
import { QemuDriver } from './drivers/qemu/qemu-driver.js';
import { startGrpcServer } from './grpc/server.js';
import { GrpcGuestLinkFactory } from './guest/grpc-guest-link.js';
import { Ext4Preparer } from './images/ext4-preparer.js';
import { LocalImageStore } from './images/local-image-store.js';
import { openUdpAckListener } from './mailbox/udp-ack-listener.js';
import { openNetwork } from './network/open-network.js';
import { PrivilegedClient } from './os/privileged-client.js';
import { ProcOrphans } from './os/proc-orphans.js';
import { StatePaths } from './paths.js';
import type { HypervisorDriver } from './ports/driver.js';
import { InstanceDirectories } from './state/instance-directories.js';
import { SnapshotDirectories } from './state/snapshot-directories.js';
import { SqliteAnswers } from './state/sqlite-answers.js';
import { SqliteInstanceStore } from './state/sqlite-instance-store.js';
import { SqliteJournal } from './state/sqlite-journal.js';
import { SqliteSnapshotStore } from './state/sqlite-snapshot-store.js';
import { openStateDatabase } from './state/state-database.js';
import { StateDirectory } from './state/state-directory.js';
import { openStorages } from './storage/open-storages.js';
import { openZfs } from './storage/zfs/open-zfs.js';
import { openZfsAccess } from './storage/zfs/zfs-access.js';
import { VERSION } from './version.js';

/** The repository, or wherever the package was unpacked: images/ and guest-agent/ stand beside host-agent/. */
const installation = fileURLToPath(new URL('../../', import.meta.url));

/** At shutdown: calls under way may finish or be undone within the first, everything ends within the second; milliseconds. */
const SHUTDOWN_GRACE_MS = 8000;
const SHUTDOWN_LIMIT_MS = 10_000;

async function serve({ settings }: LoadedSettings, logger: Logger): Promise<void> {
  const jail = jailSettings(settings, process.getuid?.() ?? NaN);
  const paths = new StatePaths(settings.state_dir);
  using _stateDirectory = await StateDirectory.open(paths);
  // What is opened is closed in reverse order, at shutdown as well as when a later step of the start fails.
  await using opened = new UndoStack(logger);
  const database = openStateDatabase(paths.database);
  opened.push('close state', () => {
    database.close();
  });
  const helperPath = settings['privileged.helper'];
  const client = helperPath === '' ? undefined : new PrivilegedClient(helperPath);
  const { program, zfs, helper } = await openZfsAccess({
    dataset: settings['storage.zfs_dataset'],
    client,
    version: VERSION,
  });
  const storages = await openStorages(paths.root, settings['storage.zfs_dataset'], (dataset) =>
    openZfs({ dataset, stateDirectory: paths.root, program }),
  );
  const wanted = settings['storage.driver'];
  const disks = new DiskStorages(storages.here, storages.missing, wanted === 'auto' ? undefined : wanted);
  const store = new SqliteInstanceStore(database);
  const snapshots = new SqliteSnapshotStore(database);
  // A lower limit than before leaves instances their addresses.
  const instances = Math.max(settings['limits.instances'], ...[...store.usedSlots()].map((slot) => slot + 1));
  const network = await openNetwork({
    mode: settings['network.mode'],
    subnet: settings['network.subnet'],
    stateDirectory: paths.root,
    logger: logger.child({ component: 'network' }),
    ...(client === undefined ? {} : { helper: { client, version: VERSION, instances } }),
  });
  opened.push('take the network down', () => network.close({ inUse: store.count(LIVE_STATES) > 0 }));
  const acks = await openUdpAckListener({
    address: network.status.ackBindAddress,
    logger: logger.child({ component: 'acks' }),
  });
  opened.push('close ack socket', () => acks.close());
  await network.openAckPort(acks.port);
  const agentBundle = join(installation, 'guest-agent/dist/bundle');
  const dependencies: Dependencies = {
    version: VERSION,
    paths,
    store,
    journal: new SqliteJournal(database),
    answers: new SqliteAnswers(database),
    files: new InstanceDirectories(paths),
    snapshots,
    snapshotFiles: new SnapshotDirectories(paths),
    drivers: byName([
      new QemuDriver({
        binary: settings['qemu.binary'],
        accelerator: settings['qemu.accelerator'],
        scratchDirectory: paths.root,
        logger: logger.child({ component: 'qemu' }),
      }),
      new FirecrackerDriver({
        binary: settings['firecracker.binary'],
        ...(jail === undefined ? {} : { jail }),
        logger: logger.child({ component: 'firecracker' }),
      }),
      new CloudHypervisorDriver({
        binary: settings['cloud_hypervisor.binary'],
        scratchDirectory: paths.root,
        logger: logger.child({ component: 'cloud-hypervisor' }),
      }),
      ...DECLARED_DRIVERS,
    ]),
    defaultDriver: 'qemu',
    network,
    images: new LocalImageStore({
      imagesDirectory: settings.images_dir === '' ? paths.images : settings.images_dir,
      cacheDirectory: join(settings.images_dir === '' ? paths.root : settings.images_dir, '.cache'),
      assetsDirectory: join(installation, 'images'),
      agentBundle,
      stateDirectory: paths.root,
      maxBytes: settings['images.max_bytes'],
      ownUsersOf: ownUsersOf(store, snapshots),
      disks,
      logger: logger.child({ component: 'images' }),
    }),
    disks,
    diskPreparer: new Ext4Preparer(),
    orphans: new ProcOrphans(),
    zfs,
    helper,
    guestLinks: new GrpcGuestLinkFactory({ hostVersion: VERSION, logger: logger.child({ component: 'guest' }) }),
    acks,
    limits: {
      instances: settings['limits.instances'],
      bootMs: settings['limits.boot_seconds'] * 1000,
      pauseMs: settings['limits.pause_seconds'] * 1000,
      memoryReserveBytes: settings['limits.memory_reserve_mib'] * 2 ** 20,
    },
    logger,
  };
  const calls = new IdempotentCalls(dependencies.answers);
  const context = openContext(dependencies);
  opened.push('let go of VMs', () => closeContext(context));
  const adopted = await recover(context);

  if (settings.listen.startsWith('unix://'))
    await mkdir(dirname(settings.listen.slice('unix://'.length)), { recursive: true, mode: 0o755 });
  const server = await startGrpcServer({
    listen: settings.listen,
    instances: new InstanceService(context, calls),
    snapshots: new SnapshotService(context, calls),
    host: new HostService(dependencies, { agentBundle, listening: () => server.address }),
    images: new ImageService(context, calls),
    descriptors: async () => {
      const { readDescriptors } = await import('./grpc/contract/descriptor-file.js');
      return readDescriptors(join(installation, 'host-agent/dist'));
    },
    logger,
    version: VERSION,
  });
  opened.push('stop serving', () => server.close(SHUTDOWN_GRACE_MS));
  // At every log level: whoever started the daemon waits for this line.
  logger
    .child({}, { level: 'info' })
    .info({ address: server.address, state_dir: paths.root, network: network.status.mode }, 'ready');
  void greetGuests(context, adopted);

  logger.info({ signal: await terminationSignal() }, 'stopping; VMs run on');
  setTimeout(() => {
    logger.error('shutdown took too long');
    process.exit(1);
  }, SHUTDOWN_LIMIT_MS).unref();
}

const byName = (drivers: readonly HypervisorDriver[]): ReadonlyMap<DriverName, HypervisorDriver> =>
  new Map(drivers.map((driver) => [driver.name, driver]));

function terminationSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
}

/** The flag's value by setting, as commander names it: `--network-mode` -> networkMode. */
function givenFlags(options: Readonly<Record<string, string | undefined>>): Partial<Record<SettingKey, string>> {
  const flags: Partial<Record<SettingKey, string>> = {};
  for (const key of SETTING_KEYS) {
    const value = options[key.replace(/[._]([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    if (value !== undefined) flags[key] = value;
  }
  return flags;
}

function load(command: Command): LoadedSettings {
  const options = command.optsWithGlobals<Record<string, string | undefined>>();
  return loadSettings({ file: options.config, environment: process.env, flags: givenFlags(options) });
}

const program = new Command('offshootd')
  .description('Boots, parks and forks micro-VMs, and serves the API for it.')
  .version(VERSION)
  .option('--config <FILE>', `configuration file, YAML or JSON (default: ${DEFAULT_FILE}, where it is there)`);
for (const key of SETTING_KEYS) {
  const { placeholder, help, default: value } = SETTINGS[key];
  program.option(`${flagName(key)} <${placeholder}>`, `${help} (default: ${value})`);
}
program.action(async () => {
  const loaded = load(program);
  await serve(loaded, pino({ name: 'offshootd', level: loaded.settings.log_level }));
});
program
  .command('config')
  .description('the configuration')
  .command('show')
  .description('print the effective one, and where each value comes from')
  .action((_options: unknown, command: Command) => {
    const { settings, sources } = load(command);
    for (const key of SETTING_KEYS) console.log(`${key}: ${settings[key]}  # ${sources[key]}`);
  });

async function main(): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    console.error(`offshootd: ${error instanceof OffshootError ? error.message : messageOf(error)}`);
    if (!(error instanceof OffshootError)) console.error(error);
    process.exitCode = error instanceof OffshootError && error.kind === 'InvalidInput' ? 2 : 1;
  }
}

// Not awaited here: what is loaded with a code cache is CommonJS.
void main();
