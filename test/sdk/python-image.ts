import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, readdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { IMAGES } from '../harness/cache.js';

/** Prints the files this machine's Python runs the library from: itself, the modules it loads, all encodings. */
const FILES_OF_PYTHON = `
import encodings, glob, os, sys
sys.path.insert(0, sys.argv[1])
import offshoot_mailbox
files = {getattr(module, "__file__", None) for module in list(sys.modules.values())} - {None, offshoot_mailbox.__file__}
files |= set(glob.glob(os.path.join(os.path.dirname(encodings.__file__), "*.py")))
print(os.path.realpath(sys.executable), *sorted(files), sep="\\n")
`;

const DEFAULT_IMAGE = 'default';

interface ImageRecord {
  readonly id: string;
  readonly name: string;
  readonly createdAt: string;
}

const LIBRARY = fileURLToPath(new URL('../../sdk/python', import.meta.url));

/**
 * An images directory with one image: the default one with this machine's Python in it, at the paths it has here and as
 * /usr/bin/python3. Compiled beforehand, because under emulation that takes longer than the boot.
 * @param directory made here
 */
export function makePythonImage(directory: string, scratch: string): void {
  const source = join(IMAGES, newestDefault());
  const id = createHash('sha256').update(`${source} python`).digest('hex');
  const image = join(directory, id);
  mkdirSync(directory, { mode: 0o700 });
  mkdirSync(image);
  execFileSync('cp', ['--archive', '--sparse=always', '--reflink=auto', `${source}/.`, image]);
  const record = JSON.parse(readFileSync(join(image, 'image.json'), 'utf8')) as object;
  writeFileSync(join(image, 'image.json'), JSON.stringify({ ...record, id }));

  const tree = join(scratch, 'python');
  layOutPython(tree);
  writeIntoDisk(tree, join(image, 'rootfs.ext4'), scratch);
}

/** Id of the image the default one of this checkout is: the last built. Other tests import images of other names there. */
function newestDefault(): string {
  const [newest] = readdirSync(IMAGES)
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .map((id) => JSON.parse(readFileSync(join(IMAGES, id, 'image.json'), 'utf8')) as ImageRecord)
    .filter(({ name }) => name === DEFAULT_IMAGE)
    .sort((one, other) => other.createdAt.localeCompare(one.createdAt));
  if (newest === undefined) throw new Error(`no default image was built in ${IMAGES}`);
  return newest.id;
}

function layOutPython(tree: string): void {
  const options = { encoding: 'utf8' } as const;
  const files = execFileSync('python3', ['-B', '-c', FILES_OF_PYTHON, LIBRARY], options).trim().split('\n');
  const [python = ''] = files;
  const native = files.filter((path) => path === python || path.endsWith('.so'));
  const libraries = execFileSync('ldd', native, options).matchAll(/(?:=> |^\t)(\/\S+) \(/gm);
  for (const path of new Set([...files, ...Array.from(libraries, ([, path = '']) => path)])) {
    mkdirSync(join(tree, dirname(path)), { recursive: true });
    cpSync(path, join(tree, path), { dereference: true });
  }
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  if (python !== '/usr/bin/python3') symlinkSync(python, join(tree, 'usr/bin/python3'));
  // Unchecked: a file written into the disk has another date than here.
  execFileSync('python3', ['-m', 'compileall', '-q', '--invalidation-mode', 'unchecked-hash', tree], { stdio: 'pipe' });
}

/** Adds the files of a tree to an ext4 disk, without being root. What is there already stays. */
function writeIntoDisk(tree: string, disk: string, scratch: string): void {
  const commands: string[] = [];
  for (const entry of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    const folder = `/${join(entry.parentPath, '.').slice(tree.length + 1)}`;
    const path = join(entry.parentPath, entry.name);
    commands.push(`cd ${folder}`);
    if (entry.isDirectory()) commands.push(`mkdir ${entry.name}`);
    else if (entry.isSymbolicLink()) commands.push(`symlink ${entry.name} ${readlinkSync(path)}`);
    else commands.push(`write ${path} ${entry.name}`);
  }
  const script = join(scratch, `${basename(disk)}.debugfs`);
  writeFileSync(script, `${commands.join('\n')}\n`);
  execFileSync('debugfs', ['-w', '-f', script, disk], { stdio: 'pipe' });
}
