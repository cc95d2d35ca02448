import type { Context } from './context.js';
import { Operation } from './operation.js';

/**
 * Removes an image that nobody uses.
 * @throws NotFound, InvalidState IMAGE_IN_USE, Conflict IMAGE_BUSY, as ImageStore.delete
 */
export async function deleteImage(context: Context, reference: string): Promise<void> {
  const { images } = context;
  const image = await images.resolveToDelete(reference);
  await using operation = Operation.beginOfImage(context, 'delete-image', image.id);
  await images.delete(image);
  operation.reached('take away');
  operation.recordRows(() => undefined, { answer: undefined });
  await images.emptyTrash();
}
