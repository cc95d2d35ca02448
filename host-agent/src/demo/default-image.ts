import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImportImageRequest, type Image } from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { DaemonClient } from '../cli/daemon-client.js';
import { DaemonProcess } from './daemon-process.js';

/**
 * Builds the default image into a directory that other daemons then use, unless it is there. In a daemon of its own,
 * outside any private network: the kernel is downloaded.
 */
export async function buildDefaultImage(
  imagesDirectory: string,
  onStep: (step: string) => void,
  signal: AbortSignal,
): Promise<Image> {
  const stateDirectory = await mkdtemp(join(tmpdir(), 'offshoot-image-'));
  try {
    await using daemon = await DaemonProcess.start({
      settings: {
        state_dir: stateDirectory,
        images_dir: imagesDirectory,
        listen: `unix://${join(stateDirectory, 'api.sock')}`,
        log_level: 'warn',
        'network.mode': 'user',
      },
    });
    using client = new DaemonClient(daemon.address, signal);
    const { images } = client;
    const request = ImportImageRequest.fromPartial({ source: 'default' });
    for await (const { event } of client.stream(images.importImage.bind(images), request)) {
      if (event?.$case === 'progress') onStep(event.progress.step);
      if (event?.$case === 'image') return event.image;
    }
    throw new Error(`the import ended without an image: ${daemon.log}`);
  } finally {
    await rm(stateDirectory, { recursive: true, force: true });
  }
}
