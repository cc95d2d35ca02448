import { constants } from 'node:fs';
import { chmod, copyFile, cp, link, mkdir, readFile, readdir, realpath, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { sharedLibraries } from '@offshoot/host-agent/images/shared-libraries.js';
import { findProgram } from '@offshoot/host-agent/os/program-path.js';
import { ext4FromTree } from './ext4-from-tree.js';
import { keptFolder } from './kept-folder.js';
import { REPOSITORY, RUN_FOLDER } from './lab-definition.js';

const GIB = 1024 ** 3;

/** Hypervisors that are no Debian packages: where tests look for them. */
const VMMS: Readonly<Record<string, string>> = {
  OFFSHOOT_FIRECRACKER: 'firecracker',
  OFFSHOOT_JAILER: 'jailer',
  OFFSHOOT_CLOUD_HYPERVISOR: 'cloud-hypervisor',
};

/** What of this machine's environment tests in there see, too. */
const PASSED_ON = ['OFFSHOOT_PHASES', 'OFFSHOOT_CLONE_ROUNDS', 'OFFSHOOT_WRITING_SNAPSHOTS'];

/** Of the repository's folder; the cache has the disks that are made here. */
const LEFT_OUT = new Set(['.git', '.cache', 'node_modules', 'coverage']);

/** The disk with this machine's Node packages: kept, and made anew when they are others, or built for another Node. */
export async function modulesDisk(cache: string, onStep: (step: string) => void, signal: AbortSignal): Promise<string> {
  const modules = join(REPOSITORY, 'node_modules');
  const installed = await readFile(join(modules, '.package-lock.json'), 'utf8');
  const folder = await keptFolder(cache, 'modules', { installed, abi: process.versions.modules }, async (making) => {
    onStep('writing the disk with Node packages');
    await ext4FromTree(modules, join(making, 'modules.ext4'), 2 * GIB, signal);
  });
  return join(folder, 'modules.ext4');
}

export interface RunContents {
  /** Test files or patterns, as vitest takes them. */
  readonly tests: readonly string[];
  /** Folder of the default image. */
  readonly image: string;
}

/**
 * The disk of one run: the repository as it is now, built; the default image; this machine's Node and the hypervisors found
 * here, with the libraries they need.
 * @param folder of the run, gets `run.ext4` and what it is made of
 */
export async function runDisk(folder: string, { tests, image }: RunContents, signal: AbortSignal): Promise<string> {
  const tree = join(folder, 'tree');
  for (const name of await readdir(REPOSITORY))
    if (!LEFT_OUT.has(name))
      await cp(join(REPOSITORY, name), join(tree, name), {
        recursive: true,
        filter: (path) => !LEFT_OUT.has(basename(path)),
      });
  // Links, because a copy would fill the holes of the image's disk.
  const imageInside = join(tree, relative(REPOSITORY, image));
  await mkdir(imageInside, { recursive: true });
  for (const name of await readdir(image)) await link(join(image, name), join(imageInside, name));

  const own = join(tree, RUN_FOLDER);
  await mkdir(join(own, 'bin'), { recursive: true });
  await takeProgram(process.execPath, 'node', tree, signal);
  for (const [variable, name] of Object.entries(VMMS)) {
    const program = await findProgram(process.env[variable] ?? name);
    if (program !== undefined) await takeProgram(program, name, tree, signal);
  }
  await mkdir(join(tree, 'node_modules'));
  await writeFile(join(own, 'tests'), tests.map((test) => `${test}\n`).join(''));
  const passedOn = PASSED_ON.flatMap((name) => (process.env[name] === undefined ? [] : [name]));
  // For a shell: between quotes, each quote in it apart.
  const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
  const assignments = passedOn.map((name) => `export ${name}=${quoted(process.env[name] ?? '')}\n`);
  await writeFile(join(own, 'environment'), assignments.join(''));
  const disk = join(folder, 'run.ext4');
  await ext4FromTree(tree, disk, 4 * GIB, signal);
  return disk;
}

/** The program and its libraries; `guest/init` puts those that the system lacks where they were. */
async function takeProgram(program: string, name: string, tree: string, signal: AbortSignal): Promise<void> {
  const own = join(tree, RUN_FOLDER);
  await copyFile(await realpath(program), join(own, 'bin', name), constants.COPYFILE_EXCL);
  await chmod(join(own, 'bin', name), 0o755);
  for (const library of await sharedLibraries(program, signal)) {
    const target = join(own, 'libraries', library);
    await mkdir(dirname(target), { recursive: true });
    await copyFile(await realpath(library), target);
    await chmod(target, 0o755);
  }
}
