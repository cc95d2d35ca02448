import { mkdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { copyOntoDevice, sparseCopy } from '../../../os/sparse-copy.js';
import { ZfsFailed, type Volume, type ZfsProgram } from '../zfs-program.js';
import type { DeviceNames } from '../zvol-devices.js';

interface Dataset {
  readonly volume: boolean;
  readonly origin: string | undefined;
  readonly properties: Map<string, string>;
}

/**
 * What zfs(8) does with the commands the daemon gives it, as its manual has it, with files for devices: names and their
 * conflicts, clones and their origins, promotion, refusals and their words. Nothing is shared: a clone takes all of what it holds.
 */
export class ZfsDouble implements ZfsProgram {
  readonly datasets = new Map<string, Dataset>();
  /** In the order they were taken; in each the file with its content. */
  readonly snapshots = new Map<string, string>();
  /** Every command so far. */
  readonly commands: string[] = [];
  /** Begins of commands that fail, once each, and the words for it. */
  readonly failures: { readonly command: string; readonly words: string }[] = [];
  /** Awaited after a command was carried out. */
  afterwards: (command: string) => Promise<void> | void = () => undefined;
  availableBytes = 2 ** 40;
  private contents = 0;

  /** @param devices a folder for devices @param store one for the content of snapshots */
  constructor(
    private readonly root: string,
    private readonly devices: string,
    private readonly store: string,
  ) {
    this.datasets.set(root, { volume: false, origin: undefined, properties: new Map() });
  }

  async run(args: readonly string[], signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    const command = args.join(' ');
    this.commands.push(command);
    const failure = this.failures.findIndex((each) => command.startsWith(each.command));
    if (failure !== -1) throw new ZfsFailed(args, this.failures.splice(failure, 1)[0]?.words ?? '');
    const [verb = '', ...rest] = args;
    const carryOut = this.verbs[verb];
    if (carryOut === undefined) throw new Error(`the double does not know ${command}`);
    const { options, names } = parse(rest);
    const printed = await carryOut(options, names, (words) => new ZfsFailed(args, words));
    await this.afterwards(command);
    signal?.throwIfAborted();
    return printed;
  }

  async fill(file: string, { device }: Volume, signal?: AbortSignal): Promise<void> {
    await copyOntoDevice(file, device, signal);
  }

  /** The files that stand for devices. A test can have one be another volume's, or one that udev has given no name. */
  get deviceNames(): DeviceNames {
    return {
      directory: this.devices,
      nameOf: async (path) =>
        (await isThere(path)) ? (this.otherNames.get(path) ?? relative(this.devices, path)) : undefined,
      nodes: () => Promise.resolve([...this.otherNames.keys()]),
    };
  }
  readonly otherNames = new Map<string, string>();

  private readonly verbs: Readonly<Record<string, Verb>> = {
    list: async (options, [name = this.root], fail) => {
      if (!this.datasets.has(name) && !this.snapshots.has(name))
        throw fail(`cannot open '${name}': dataset does not exist`);
      const listed: Readonly<Record<string, readonly string[]>> = {
        snapshot: [...this.snapshots.keys()].filter((each) => ofDataset(each) === name),
        volume: [...this.datasets.keys()].filter((each) => dirname(each) === name && this.datasets.get(each)?.volume),
      };
      const columns = (options.get('-o')?.at(-1) ?? 'name').split(',');
      const rows = (listed[options.get('-t')?.at(-1) ?? ''] ?? [name]).map(async (each) =>
        (await Promise.all(columns.map((column) => this.property(each, column)))).join('\t'),
      );
      return lines(await Promise.all(rows));
    },
    get: (_options, [property = '', name = '']) => lines([this.datasets.get(name)?.properties.get(property) ?? '-']),
    set: async (_options, [assignment = '', name = ''], fail) => {
      const [property = '', value = ''] = assignment.split('=');
      if (!this.datasets.has(name)) throw fail(`cannot open '${name}': dataset does not exist`);
      if (property === 'volsize') await truncate(this.device(name), Number(value));
      this.datasets.get(name)?.properties.set(property, value);
      return '';
    },
    create: async (options, [name = ''], fail) => {
      this.assertFree(name, fail);
      const size = options.get('-V')?.at(-1);
      const dataset = { volume: size !== undefined, origin: undefined, properties: propertiesOf(options) };
      this.datasets.set(name, dataset);
      if (size !== undefined) {
        await mkdir(dirname(this.device(name)), { recursive: true });
        await writeFile(this.device(name), '');
        await truncate(this.device(name), Number(size));
      }
      return '';
    },
    snapshot: async (_options, [name = ''], fail) => {
      if (this.snapshots.has(name)) throw fail(`cannot create snapshot '${name}': dataset already exists`);
      const source = this.datasets.get(ofDataset(name));
      if (source === undefined) throw fail(`cannot open '${ofDataset(name)}': dataset does not exist`);
      const content = join(this.store, String(++this.contents));
      const from = (await isThere(this.device(ofDataset(name))))
        ? this.device(ofDataset(name))
        : this.snapshots.get(source.origin ?? '');
      await sparseCopy(from ?? '', content);
      this.snapshots.set(name, content);
      return '';
    },
    clone: async (options, [snapshot = '', name = ''], fail) => {
      const content = this.snapshots.get(snapshot);
      if (content === undefined) throw fail(`cannot open '${snapshot}': dataset does not exist`);
      this.assertFree(name, fail);
      const properties = propertiesOf(options);
      this.datasets.set(name, { volume: true, origin: snapshot, properties });
      if (properties.get('volmode') === 'none') return '';
      await mkdir(dirname(this.device(name)), { recursive: true });
      await sparseCopy(content, this.device(name));
      return '';
    },
    promote: (_options, [name = ''], fail) => {
      const clone = this.datasets.get(name);
      const origin = clone?.origin;
      if (clone === undefined || origin === undefined) throw fail(`cannot promote '${name}': not a cloned filesystem`);
      const [parentName, order] = [ofDataset(origin), [...this.snapshots.keys()]];
      const parent = this.datasets.get(parentName);
      if (parent === undefined) throw new Error(`${origin} is of no dataset`);
      const moved = order.filter(
        (each) => ofDataset(each) === parentName && order.indexOf(each) <= order.indexOf(origin),
      );
      const conflict = moved.find((each) => this.snapshots.has(`${name}@${labelOf(each)}`));
      if (conflict !== undefined)
        throw fail(
          `cannot promote '${name}': snapshot name '${labelOf(conflict)}' from origin conflicts with a snapshot`,
        );
      for (const each of moved) this.renameSnapshot(each, `${name}@${labelOf(each)}`);
      this.datasets.set(name, { ...clone, origin: parent.origin });
      this.datasets.set(parentName, { ...parent, origin: `${name}@${labelOf(origin)}` });
      return '';
    },
    rename: (_options, [from = '', to = ''], fail) => {
      if (!this.snapshots.has(from)) throw fail(`cannot open '${from}': dataset does not exist`);
      if (this.snapshots.has(to)) throw fail(`cannot rename '${from}': dataset already exists`);
      this.renameSnapshot(from, to);
      return '';
    },
    destroy: async (options, [name = ''], fail) => {
      if (options.has('-R')) throw new Error('never');
      if (name.includes('@')) {
        if (!this.snapshots.has(name)) throw fail(`could not find any snapshots to destroy; check snapshot names.`);
        if (this.clonesOf(name).length > 0) throw fail(`cannot destroy '${name}': snapshot has dependent clones`);
        await this.dropSnapshot(name);
        return '';
      }
      if (!this.datasets.has(name)) throw fail(`cannot open '${name}': dataset does not exist`);
      const own = [...this.snapshots.keys()].filter((each) => ofDataset(each) === name);
      if (own.some((each) => this.clonesOf(each).length > 0))
        throw fail(
          `cannot destroy '${name}': volume has dependent clones\nuse '-R' to destroy the following datasets:`,
        );
      if (own.length > 0 && !options.has('-r')) throw fail(`cannot destroy '${name}': volume has children`);
      for (const each of own) await this.dropSnapshot(each);
      this.datasets.delete(name);
      await rm(this.device(name), { force: true });
      return '';
    },
  };

  private async property(name: string, property: string): Promise<string> {
    const device = await stat(this.device(name)).catch(() => undefined);
    const bytes = String((device?.blocks ?? 0) * 512);
    const values: Readonly<Record<string, string>> = {
      name,
      origin: this.datasets.get(name)?.origin ?? '-',
      clones: this.clonesOf(name).join(',') || '-',
      available: String(this.availableBytes),
      used: bytes,
      usedbydataset: bytes,
      referenced: bytes,
    };
    return values[property] ?? '-';
  }

  private clonesOf(snapshot: string): string[] {
    return [...this.datasets].filter(([, { origin }]) => origin === snapshot).map(([name]) => name);
  }

  /** Its place in the order stays: it is as old as it was. */
  private renameSnapshot(from: string, to: string): void {
    const all = [...this.snapshots].map(([name, content]) => [name === from ? to : name, content] as const);
    this.snapshots.clear();
    for (const [name, content] of all) this.snapshots.set(name, content);
    for (const [name, dataset] of this.datasets)
      if (dataset.origin === from) this.datasets.set(name, { ...dataset, origin: to });
  }

  private async dropSnapshot(name: string): Promise<void> {
    await rm(this.snapshots.get(name) ?? '', { force: true });
    this.snapshots.delete(name);
  }

  private assertFree(name: string, fail: Fail): void {
    if (this.datasets.has(name)) throw fail(`cannot create '${name}': dataset already exists`);
  }

  private device(name: string): string {
    return join(this.devices, name);
  }
}

type Fail = (words: string) => ZfsFailed;
type Options = ReadonlyMap<string, readonly string[]>;
type Verb = (options: Options, names: readonly string[], fail: Fail) => string | Promise<string>;

const WITH_VALUE = ['-o', '-t', '-d', '-s', '-V'];

/** @param args without the verb; `-s` has a value where things are listed alone */
function parse(args: readonly string[]): { options: Options; names: readonly string[] } {
  const options = new Map<string, string[]>();
  const names: string[] = [];
  const creates = args.includes('-V');
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (!arg.startsWith('-')) names.push(arg);
    else {
      const value = WITH_VALUE.includes(arg) && !(creates && arg === '-s') ? [args[++i] ?? ''] : [];
      options.set(arg, [...(options.get(arg) ?? []), ...value]);
    }
  }
  return { options, names };
}

const propertiesOf = (options: Options): Map<string, string> =>
  new Map((options.get('-o') ?? []).map((each) => each.split('=') as [string, string]));

const ofDataset = (snapshot: string): string => snapshot.split('@')[0] ?? '';
const labelOf = (snapshot: string): string => snapshot.split('@')[1] ?? '';
const lines = (rows: readonly string[]): string => rows.map((row) => `${row}\n`).join('');
const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
