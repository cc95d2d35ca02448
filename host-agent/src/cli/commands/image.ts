import { isAbsolute, resolve } from 'node:path';
import {
  DeleteImageRequest,
  DeleteImageResponse,
  ImportImageRequest,
  ImportImageResponse,
  ListImagesRequest,
  ListImagesResponse,
  type Image,
  type ImageUsage,
} from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { READ_DEADLINE_MS, type CommandContext } from '../command-context.js';
import { formatAge, formatBytes } from '../format-values.js';
import { withProgress, type Report } from '../progress.js';
import { protoJson } from '../proto-json.js';
import { table } from '../tables.js';
import type { Define } from './define.js';

export const defineImage: Define = (program, run) => {
  const image = program.command('image').description('build, list and delete images');
  image
    .command('build-default')
    .description('build the default image, or find it built')
    .action(() =>
      run(async (context) => {
        await show(
          context,
          await withProgress(context, 'Building the default image', (report) =>
            importImage(context, { source: 'default', name: '' }, report),
          ),
        );
      }),
    );
  image
    .command('import')
    .description('make an image of a root file system or container image, or find it made')
    .argument(
      '<source>',
      'directory, tar, OCI layout, archive of docker save or ext4 disk, PATH:NAME for one of several; or docker://REFERENCE',
    )
    .requiredOption('--name <name>', 'name for the image')
    .action((source: string, { name }: { name: string }) =>
      run(async (context) => {
        const order = { source: sourceOf(source), name };
        await show(
          context,
          await withProgress(context, `Importing ${name}`, (report) => importImage(context, order, report)),
        );
      }),
    );
  image
    .command('rm')
    .description('delete images that no instance or snapshot is made of')
    .argument('<image...>', 'ids, names, or beginnings of ids')
    .action((references: string[]) =>
      run(async (context) => {
        const { images } = context.client;
        const deleted: string[] = [];
        // As `rm`: one after the other, and up to the first failure.
        for (const reference of references) {
          await context.client.unary<DeleteImageRequest, DeleteImageResponse>(images.deleteImage.bind(images), {
            image: reference,
            requestId: '',
          });
          deleted.push(reference);
        }
        await context.print({ json: () => Promise.resolve({ deleted }), text: () => deleted.join('\n') });
      }),
    );
  image
    .command('ls')
    .description('list images, newest first')
    .action(() =>
      run(async (context) => {
        const { images } = context.client;
        const response = await context.client.unary<ListImagesRequest, ListImagesResponse>(
          images.listImages.bind(images),
          {},
          READ_DEADLINE_MS,
        );
        await context.print({
          json: () => protoJson('ListImagesResponse', ListImagesResponse, response),
          text: () => describe(response.images),
        });
      }),
    );
};

async function importImage(
  { client }: CommandContext,
  order: Pick<ImportImageRequest, 'source' | 'name'>,
  report: Report,
): Promise<Image> {
  const messages = client.stream<ImportImageRequest, ImportImageResponse>(
    client.images.importImage.bind(client.images),
    { ...order, requestId: '' },
  );
  let image: Image | undefined;
  for await (const { event } of messages) {
    if (event?.$case === 'progress')
      report(`[${String(event.progress.index)}/${String(event.progress.total)}] ${event.progress.step}`);
    if (event?.$case === 'image') image = event.image;
  }
  if (image === undefined) throw new TypeError('the daemon ended the import without an image');
  return image;
}

/** The daemon does not know where the command was given: paths become absolute here. */
function sourceOf(text: string): string {
  if (text === 'default' || text.startsWith('docker://') || isAbsolute(text)) return text;
  return resolve(text);
}

const show = (context: CommandContext, image: Image): Promise<void> =>
  context.print({
    json: () => protoJson('ImportImageResponse', ImportImageResponse, { event: { $case: 'image', image } }),
    text: () => `image ${image.name} is ready: ${image.id.slice(0, 12)}, kernel ${image.kernelRelease}`,
  });

const describe = (images: readonly Image[]): string =>
  table(
    ['NAME', 'ID', 'KERNEL', 'SIZE', 'ON DISK', 'AGE', 'LAST USE', 'USED BY'],
    images.map((image) => [
      image.name,
      image.id.slice(0, 12),
      image.kernelRelease,
      formatBytes(image.diskBytes),
      formatBytes(image.usage?.allocatedBytes ?? image.diskAllocatedBytes),
      formatAge(image.createTime),
      image.usage?.lastUseTime === undefined ? 'never' : formatAge(image.usage.lastUseTime),
      usersOf(image.usage),
    ]),
  );

/** How many of each kind; names are in the JSON. */
const usersOf = (usage: ImageUsage | undefined): string =>
  ([usage?.instances, usage?.snapshots, usage?.stateDirectories] as const)
    .map((users = [], kind) => [users.length, USER_KINDS[kind] ?? ''] as const)
    .filter(([count]) => count > 0)
    .map(([count, noun]) => `${String(count)} ${noun}${count === 1 ? '' : 's'}`)
    .join(', ');

const USER_KINDS = ['instance', 'snapshot', 'other daemon'] as const;
