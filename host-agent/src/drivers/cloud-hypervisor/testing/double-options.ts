/** What the real one ends with, or answers. */
export class DoubleRefusal extends Error {}

/** Of its options those that are used; each takes one value, but for the last two. */
const OPTIONS = new Set([
  ...['--api-socket', '--event-monitor', '--cpus', '--memory', '--memory-zone', '--disk', '--net', '--vsock'],
  ...['--serial', '--console', '--kernel', '--initramfs', '--cmdline', '--restore', '--no-shutdown', '--pvpanic'],
]);
const FLAGS = new Set(['--no-shutdown', '--pvpanic']);

export type Options = ReadonlyMap<string, string>;

/** As clap takes a command line: `--name value`, `--name=value`, none twice. */
export function parseOptions(argv: readonly string[]): Options {
  const options = new Map<string, string>();
  for (let i = 0; i < argv.length; i++) {
    const [, name = '', value] = /^(--[a-z-]+)(?:=([^]*))?$/.exec(argv[i] ?? '') ?? [];
    if (!OPTIONS.has(name)) throw new DoubleRefusal(`unexpected argument '${String(argv[i])}' found`);
    if (options.has(name)) throw new DoubleRefusal(`the argument '${name}' cannot be used multiple times`);
    const given = FLAGS.has(name) ? '' : (value ?? argv[++i]);
    if (given === undefined) throw new DoubleRefusal(`a value is required for '${name}'`);
    options.set(name, given);
  }
  return options;
}

/** `a=1,b=[2,3]`, of keys that are known. */
export function parseFields(text: string, keys: readonly string[]): Readonly<Record<string, string>> {
  const fields: Record<string, string> = {};
  for (const [, key = '', value = ''] of text.matchAll(
    /([a-z_]+)=((?:\[[^\]]*(?:\[[^\]]*\])?[^\]]*\]|[^,[\]"])*)(?:,|$)/g,
  )) {
    if (!keys.includes(key)) throw new DoubleRefusal(`unknown option: ${key}`);
    fields[key] = value;
  }
  const spelt = Object.entries(fields).map(([key, value]) => `${key}=${value}`);
  if (spelt.join(',') !== text) throw new DoubleRefusal(`invalid syntax: ${text}`);
  return fields;
}

export function field(fields: Readonly<Record<string, string>>, key: string): string {
  const value = fields[key];
  if (value === undefined) throw new DoubleRefusal(`missing: ${key}`);
  return value;
}
