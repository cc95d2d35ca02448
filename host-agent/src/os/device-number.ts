/** Takes a device's number apart as stat(2) gives it: the inverse of gnu_dev_makedev(3). */
export const deviceNumber = (device: bigint): { readonly major: number; readonly minor: number } => ({
  major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
  minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
});
