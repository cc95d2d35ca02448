import { readFileSync } from 'node:fs';
import { InvalidInput, errnoOf, messageOf, type FieldViolation } from '@offshoot/shared/errors.js';
import { parse as parseYaml } from 'yaml';
import { SETTINGS, SETTING_KEYS, environmentVariable, flagName, type SettingKey, type Settings } from './settings.js';

/** Read when it is there and no other file is named. */
export const DEFAULT_FILE = '/etc/offshoot/offshootd.yaml';

/** Where a value came from, for error messages and `config show`. */
export interface Sourced {
  readonly value: unknown;
  readonly source: string;
}

export interface LoadedSettings {
  readonly settings: Settings;
  readonly sources: Readonly<Record<SettingKey, string>>;
}

export interface SettingInputs {
  /** `--config`; must exist when given. */
  readonly file?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Values of flags that were given. */
  readonly flags: Partial<Record<SettingKey, string>>;
}

/**
 * Flags win over the environment, the environment over the file, the file over defaults.
 * @throws InvalidInput with every violation: key, where it was set, value, expectation
 */
export function loadSettings(inputs: SettingInputs): LoadedSettings {
  const fromFile = readFile(inputs.file);
  const violations: FieldViolation[] = [];
  for (const key of fromFile.keys())
    if (!(SETTING_KEYS as string[]).includes(key))
      violations.push({
        field: key,
        description: `unknown key in ${inputs.file ?? DEFAULT_FILE}; known: ${SETTING_KEYS.join(', ')}`,
      });

  const values = new Map<SettingKey, unknown>();
  const sources = new Map<SettingKey, string>();
  for (const key of SETTING_KEYS) {
    const { value, source } = pick(key, inputs, fromFile);
    const result = SETTINGS[key].schema.safeParse(value);
    if (result.success) {
      values.set(key, result.data);
      sources.set(key, source);
    } else {
      const expected = result.error.issues[0]?.message ?? 'another value';
      violations.push({ field: key, description: `must be ${expected}, got ${JSON.stringify(value)} from ${source}` });
    }
  }
  if (violations.length > 0)
    throw new InvalidInput(
      `configuration: ${violations.map(({ field, description }) => `${field}: ${description}`).join('; ')}`,
      {
        reason: 'CONFIGURATION_INVALID',
        violations,
      },
    );
  return {
    settings: Object.fromEntries(values) as Settings,
    sources: Object.fromEntries(sources) as Record<SettingKey, string>,
  };
}

function pick(
  key: SettingKey,
  { environment, flags, file }: SettingInputs,
  fromFile: ReadonlyMap<string, unknown>,
): Sourced {
  const flag = flags[key];
  if (flag !== undefined) return { value: flag, source: flagName(key) };
  const variable = environmentVariable(key);
  const fromEnvironment = environment[variable];
  if (fromEnvironment !== undefined) return { value: fromEnvironment, source: variable };
  if (fromFile.has(key)) return { value: fromFile.get(key), source: file ?? DEFAULT_FILE };
  return { value: SETTINGS[key].default, source: 'default' };
}

/** The file's values by dotted key; JSON is YAML too. */
function readFile(file: string | undefined): Map<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file ?? DEFAULT_FILE, 'utf8');
  } catch (error) {
    if (file === undefined && errnoOf(error) === 'ENOENT') return new Map();
    throw new InvalidInput(`configuration file ${file ?? DEFAULT_FILE} cannot be read: ${messageOf(error)}`, {
      reason: 'CONFIGURATION_UNREADABLE',
      cause: error,
    });
  }
  let content: unknown;
  try {
    content = parseYaml(text);
  } catch (error) {
    throw new InvalidInput(`configuration file ${file ?? DEFAULT_FILE} is neither YAML nor JSON: ${messageOf(error)}`, {
      reason: 'CONFIGURATION_UNREADABLE',
      cause: error,
    });
  }
  return new Map(flatten(content ?? {}, ''));
}

function flatten(content: unknown, prefix: string): [string, unknown][] {
  if (content === null || typeof content !== 'object' || Array.isArray(content)) return [[prefix, content]];
  return Object.entries(content).flatMap(([key, value]) => flatten(value, prefix === '' ? key : `${prefix}.${key}`));
}
