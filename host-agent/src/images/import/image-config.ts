import * as z from 'zod';
import { refused } from './image-refused.js';

const strings = z.array(z.string()).nullish();

/** OCI image specification, config.md; Docker's is the same in what is of interest here. */
const schema = z.object({
  architecture: z.string(),
  os: z.string(),
  config: z
    .object({
      Entrypoint: strings,
      Cmd: strings,
      Env: strings,
      User: z.string().nullish(),
      WorkingDir: z.string().nullish(),
    })
    .nullish(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(z.string()) }),
});

/** What an image says of the program to run in it, as its builder wrote it. */
export interface DeclaredConfig {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** `USER`, `USER:GROUP`, names or numbers; empty: root. */
  readonly user: string;
  /** Absolute. */
  readonly workingDirectory: string;
}

export interface ParsedConfig {
  readonly config: DeclaredConfig;
  /** Digest of each layer unpacked, the lowest first. */
  readonly diffIds: readonly string[];
}

/** Debian's and Node's names of this architecture are others. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
export const OCI_ARCHITECTURE = ARCHITECTURES[process.arch] ?? process.arch;

/** @throws InvalidInput for what is no configuration, or of another system */
export function parseConfig(json: Buffer): ParsedConfig {
  const { architecture, os, config, rootfs } = parseJson(schema, json, 'the configuration');
  if (os !== 'linux' || architecture !== OCI_ARCHITECTURE)
    throw refused('IMAGE_PLATFORM_MISSING', `it is for ${os}/${architecture}, not for linux/${OCI_ARCHITECTURE}`, {
      platform: `${os}/${architecture}`,
    });
  const workingDirectory = config?.WorkingDir ?? '';
  return {
    diffIds: rootfs.diff_ids,
    config: {
      entrypoint: config?.Entrypoint ?? [],
      command: config?.Cmd ?? [],
      env: Object.fromEntries((config?.Env ?? []).map(variable)),
      user: config?.User ?? '',
      // Relative ones are of the root, as with runc.
      workingDirectory: workingDirectory.startsWith('/') ? workingDirectory : `/${workingDirectory}`,
    },
  };
}

function variable(text: string): [string, string] {
  const equals = text.indexOf('=');
  if (equals < 1) throw refused('IMAGE_LAYOUT_INVALID', 'a variable of its environment is not written NAME=VALUE');
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** @throws InvalidInput IMAGE_LAYOUT_INVALID naming `what` */
export function parseJson<Schema extends z.ZodType>(schema: Schema, json: Buffer, what: string): z.infer<Schema> {
  try {
    return schema.parse(JSON.parse(json.toString('utf8')));
  } catch (error) {
    const problem =
      error instanceof z.ZodError
        ? error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
        : 'it is not written in JSON';
    throw refused('IMAGE_LAYOUT_INVALID', `${what} is not as it should be: ${problem}`, {}, error);
  }
}
