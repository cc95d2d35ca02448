import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf } from '@offshoot/shared/errors.js';

const run = promisify(execFile);

const VERSION = 'v1.9.3';
/** Kept between runs: building takes minutes. */
const INSTALLED = fileURLToPath(new URL(`../../.cache/tools/grpcurl-${VERSION}`, import.meta.url));
const INSTALL_LIMIT_MS = 480_000;

/** Path of grpcurl: on the PATH, or built before, or built now where there is a Go tool chain; else undefined. */
export async function provideGrpcurl(): Promise<string | undefined> {
  const found = (await onPath('grpcurl')) ?? (await ifProgram(join(INSTALLED, 'grpcurl')));
  if (found !== undefined || (await onPath('go')) === undefined) return found;
  try {
    console.log(`building grpcurl ${VERSION}`);
    const env = { ...process.env, GOBIN: INSTALLED };
    await run('go', ['install', `github.com/fullstorydev/grpcurl/cmd/grpcurl@${VERSION}`], {
      env,
      timeout: INSTALL_LIMIT_MS,
    });
    return await ifProgram(join(INSTALLED, 'grpcurl'));
  } catch (error) {
    console.log(`grpcurl cannot be built here: ${messageOf(error)}`);
    return undefined;
  }
}

async function onPath(program: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = await ifProgram(join(folder, program));
    if (path !== undefined) return path;
  }
  return undefined;
}

const ifProgram = (path: string): Promise<string | undefined> =>
  access(path, constants.X_OK).then(
    () => path,
    () => undefined,
  );
