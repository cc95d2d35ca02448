import { PassThrough } from 'node:stream';
import type {
  ImageServiceServer,
  ImportImageRequest,
  ImportImageResponse,
} from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import type { ImageOperations } from '../app/commands.js';
import type { RequestIdentity } from '../ports/answers.js';
import type { CallRunner } from './call-runner.js';
import { parseReference } from './field-parsers.js';
import { toImageMessage, toListedMessage } from './image-message.js';
import { collecting, quoted } from './violations.js';

const MAX_SOURCE_LENGTH = 4096;

/** offshoot.v1.ImageService. */
export function imageService(images: ImageOperations, run: CallRunner): ImageServiceServer {
  async function* importImage(
    request: ImportImageRequest,
    signal: AbortSignal,
    identity: RequestIdentity | undefined,
  ): AsyncGenerator<ImportImageResponse> {
    const { source, name } = request;
    if (source === '' || source.length > MAX_SOURCE_LENGTH)
      throw InvalidInput.field('source', `must name an image to import, such as "default", got ${quoted(source)}`);
    // The queue between a callback and a client that reads at its own pace.
    const events = new PassThrough({ objectMode: true });
    const push = (event: ImportImageResponse['event']): void => {
      if (events.writable) events.write(event);
    };
    const over = images
      .import(
        { source, ...(name !== '' && { name }) },
        (progress) => {
          push({ $case: 'progress', progress: { ...progress } });
        },
        signal,
        identity,
      )
      .then(
        (image) => {
          push({ $case: 'image', image: toImageMessage(image) });
          events.end();
        },
        (error: unknown) => events.destroy(error instanceof Error ? error : new Error(String(error))),
      );
    try {
      for await (const event of events as AsyncIterable<ImportImageResponse['event']>) yield { event };
    } finally {
      await over; // an import that was given up is over only when it has cleaned up
    }
  }

  return {
    importImage: run.stream('changes', importImage),
    listImages: run.unary('reads', async () => ({ images: (await images.list()).map(toListedMessage) })),
    deleteImage: run.unary('changes', async (request, signal, identity) => {
      const reference = collecting((violations) => parseReference('image', request.image, violations));
      await images.delete(reference, signal, identity);
      return {};
    }),
  };
}
