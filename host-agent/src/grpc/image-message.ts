import type {
  Image as ImageMessage,
  ImageConfig as ConfigMessage,
} from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import type { ListedImage } from '../app/commands.js';
import type { Image, ImageConfig } from '../ports/image-store.js';

export const toImageMessage = (image: Image): ImageMessage => ({
  id: image.id,
  name: image.name,
  kernelRelease: image.kernelRelease,
  diskBytes: BigInt(image.diskBytes),
  diskAllocatedBytes: BigInt(image.diskAllocatedBytes),
  createTime: new Date(image.createdAt),
  config: image.config && toConfigMessage(image.config),
  usage: undefined,
});

export const toListedMessage = ({
  usage: { users, lastUse, allocatedBytes },
  ...image
}: ListedImage): ImageMessage => ({
  ...toImageMessage(image),
  usage: {
    allocatedBytes: BigInt(allocatedBytes),
    lastUseTime: lastUse === undefined ? undefined : new Date(lastUse),
    instances: [...users.instances],
    snapshots: [...users.snapshots],
    stateDirectories: [...users.daemons],
  },
});

const toConfigMessage = ({ entrypoint, command, env, user, workingDirectory }: ImageConfig): ConfigMessage => ({
  entrypoint: [...entrypoint],
  command: [...command],
  env: { ...env },
  uid: user.uid,
  gid: user.gid,
  groups: [...user.groups],
  workingDirectory,
});
