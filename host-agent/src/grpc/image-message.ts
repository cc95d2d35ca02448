import type { Image as ImageMessage } from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import type { Image } from '../ports/image-store.js';

export const toImageMessage = (image: Image): ImageMessage => ({
  id: image.id,
  name: image.name,
  kernelRelease: image.kernelRelease,
  diskBytes: BigInt(image.diskBytes),
  diskAllocatedBytes: BigInt(image.diskAllocatedBytes),
  createTime: new Date(image.createdAt),
});
