import type { MemoryRegion } from '../../domain/instance.js';

const GIB = 1024 ** 3;
/** RAM below 4 GiB ends where the PCIe configuration space begins. */
const LOW_LIMIT = 2.75 * GIB;
/** With more RAM than that, it ends here, so that the rest starts at a round address above 4 GiB. */
const LOW_WHEN_SPLIT = 2 * GIB;

/**
 * Where q35 puts its RAM block (pc_q35_init in hw/i386/pc_q35.c; seen with `info mtree` of pc-q35-7.2 at 128, 2048, 2815, 2816,
 * 3072 and 4096 MiB): up to 2.75 GiB in one piece, from there on 2 GiB below and the rest above 4 GiB. The hole for
 * video memory and firmware below 1 MiB has RAM behind it in the file, at its own address.
 */
export function q35Regions(memoryBytes: number): readonly MemoryRegion[] {
  if (memoryBytes < LOW_LIMIT) return [{ gpa: 0, size: memoryBytes, fileOffset: 0 }];
  return [
    { gpa: 0, size: LOW_WHEN_SPLIT, fileOffset: 0 },
    { gpa: 4 * GIB, size: memoryBytes - LOW_WHEN_SPLIT, fileOffset: LOW_WHEN_SPLIT },
  ];
}
