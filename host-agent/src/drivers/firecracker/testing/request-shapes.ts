import * as z from 'zod';

/**
 * Bodies as Firecracker takes them (the definitions in its src/firecracker/swagger/firecracker.yaml, at 1.17), of the requests
 * that this driver makes: with a field it does not know it refuses the whole request. It is more lenient where a rate limiter
 * or an override has a field too many; nothing here is.
 */
const BUCKET = z.strictObject({
  size: z.int().nonnegative(),
  refill_time: z.int().nonnegative(),
  one_time_burst: z.int().nonnegative().optional(),
});
const LIMITER = z.strictObject({ bandwidth: BUCKET.optional(), ops: BUCKET.optional() });

export const MACHINE = z.strictObject({
  vcpu_count: z.int().min(0).max(255),
  mem_size_mib: z.int().nonnegative(),
  smt: z.boolean().optional(),
  track_dirty_pages: z.boolean().optional(),
});
export const BOOT_SOURCE = z.strictObject({
  kernel_image_path: z.string(),
  initrd_path: z.string().optional(),
  boot_args: z.string().optional(),
});
export const DRIVE = z.strictObject({
  drive_id: z.string(),
  is_root_device: z.boolean(),
  is_read_only: z.boolean().optional(),
  path_on_host: z.string().optional(),
});
export const CARD = z.strictObject({
  iface_id: z.string(),
  host_dev_name: z.string(),
  guest_mac: z
    .string()
    .regex(/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/)
    .optional(),
});
export const VSOCK = z.strictObject({ guest_cid: z.int().nonnegative(), uds_path: z.string() });
export const ENTROPY = z.strictObject({ rate_limiter: LIMITER.optional() });
export const SERIAL = z.strictObject({ serial_out_path: z.string().optional(), rate_limiter: BUCKET.optional() });
export const ACTION = z.strictObject({ action_type: z.enum(['FlushMetrics', 'InstanceStart', 'SendCtrlAltDel']) });
export const VM_STATE = z.strictObject({ state: z.enum(['Paused', 'Resumed']) });
export const SNAPSHOT = z.strictObject({
  snapshot_type: z.enum(['Diff', 'Full']).optional(),
  snapshot_path: z.string(),
  mem_file_path: z.string(),
});
export const LOAD = z.strictObject({
  snapshot_path: z.string(),
  mem_backend: z.strictObject({ backend_type: z.enum(['File', 'Uffd']), backend_path: z.string() }),
  track_dirty_pages: z.boolean().optional(),
  resume_vm: z.boolean().optional(),
  network_overrides: z.array(z.strictObject({ iface_id: z.string(), host_dev_name: z.string() })).optional(),
  vsock_override: z.strictObject({ uds_path: z.string() }).optional(),
  clock_realtime: z.boolean().optional(),
});
