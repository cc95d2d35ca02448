import {
  ImportImageRequest,
  ImportImageResponse,
  ListImagesRequest,
  ListImagesResponse,
  type Image,
} from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { READ_DEADLINE_MS, type CommandContext } from '../command-context.js';
import { formatAge, formatBytes } from '../format-values.js';
import { withProgress, type Report } from '../progress.js';
import { protoJson } from '../proto-json.js';
import { table } from '../tables.js';
import type { Define } from './define.js';

export const defineImage: Define = (program, run) => {
  const image = program.command('image').description('build and list images');
  image
    .command('build-default')
    .description('build the default image, or find it built')
    .action(() =>
      run(async (context) => {
        const built = await withProgress(context, 'Building the default image', (report) => build(context, report));
        await context.print({
          json: () =>
            protoJson('ImportImageResponse', ImportImageResponse, { event: { $case: 'image', image: built } }),
          text: () => `image ${built.name} is ready: ${built.id.slice(0, 12)}, kernel ${built.kernelRelease}`,
        });
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

async function build({ client }: CommandContext, report: Report): Promise<Image> {
  const messages = client.stream<ImportImageRequest, ImportImageResponse>(
    client.images.importImage.bind(client.images),
    { source: 'default', requestId: '' },
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

const describe = (images: readonly Image[]): string =>
  table(
    ['NAME', 'ID', 'KERNEL', 'SIZE', 'ON DISK', 'AGE'],
    images.map((image) => [
      image.name,
      image.id.slice(0, 12),
      image.kernelRelease,
      formatBytes(image.diskBytes),
      formatBytes(image.diskAllocatedBytes),
      formatAge(image.createTime),
    ]),
  );
