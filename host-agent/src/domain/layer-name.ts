import { randomBytes } from 'node:crypto';

/** Name of a file that holds an immutable part of a disk. The same wherever the file is linked, hence unique. */
export type LayerName = `layer-${string}.qcow2`;

const PATTERN = /^layer-[0-9a-f]{16}\.qcow2$/;

/** Short enough for QEMU, whose block nodes are named after these files: 31 characters without the ending. */
export const mintLayerName = (): LayerName => `layer-${randomBytes(8).toString('hex')}.qcow2`;

export const isLayerName = (name: string): name is LayerName => PATTERN.test(name);
