import * as z from 'zod';
import type { MachineSpec } from '../../ports/driver.js';
import { HttpApi, type ApiCall, type ApiDialect } from '../http-api/http-api.js';
import { CALL_LIMIT_MS, CAPTURE_LIMIT_MS } from './time-limits.js';
import { socketsOf } from './vmm-sockets.js';

/** `--http-api-max-payload-size`, unless it is told otherwise. */
const MAX_REQUEST_BYTES = 51_200;

const FAULT = z.object({ fault_message: z.string() });
const INSTANCE = z.object({ state: z.enum(['Running', 'Paused']) });
const VERSION = z.object({ firecracker_version: z.string() });
const MACHINE = z.object({ track_dirty_pages: z.boolean() });

const DIALECT: ApiDialect = {
  vmm: 'Firecracker',
  maxRequestBytes: MAX_REQUEST_BYTES,
  limitMs: CALL_LIMIT_MS,
  faultOf: (body) => {
    try {
      return FAULT.parse(JSON.parse(body)).fault_message;
    } catch {
      return body;
    }
  },
};

/** What we ask of a Firecracker (its API: src/firecracker/swagger/firecracker.yaml). Errors as {@link HttpApi} has them. */
export class FirecrackerApi {
  private readonly http: HttpApi;

  constructor(spec: Pick<MachineSpec, 'runDirectory'>) {
    this.http = new HttpApi(socketsOf(spec).api, DIALECT);
  }

  /** One after the other, up to the first that is refused. */
  async carryOut(requests: readonly ApiCall[], signal?: AbortSignal): Promise<void> {
    for (const request of requests) await this.http.call(request, signal);
  }

  /** Whether the guest's processors run. */
  async isRunning(signal?: AbortSignal): Promise<boolean> {
    return (await this.http.ask('/', INSTANCE, signal)).state === 'Running';
  }

  async version(signal?: AbortSignal): Promise<string> {
    return (await this.http.ask('/version', VERSION, signal)).firecracker_version;
  }

  /** Whether dirty pages are logged, which they are in restored VMs alone: see `loadRequests`. */
  async logsDirtyPages(signal?: AbortSignal): Promise<boolean> {
    return (await this.http.ask('/machine-config', MACHINE, signal)).track_dirty_pages;
  }

  async pause(signal?: AbortSignal): Promise<void> {
    await this.http.call({ method: 'PATCH', path: '/vm', body: { state: 'Paused' } }, signal);
  }

  async resume(signal?: AbortSignal): Promise<void> {
    await this.http.call({ method: 'PATCH', path: '/vm', body: { state: 'Resumed' } }, signal);
  }

  /**
   * Writes device state and memory of a paused VM, and waits for the disk. `Diff`: what is dirty since the last time, over a
   * memory file that is there; where dirty pages are not logged, all that is not swapped out.
   */
  async createSnapshot(
    files: { readonly stateFile: string; readonly memoryFile: string },
    type: 'Diff' | 'Full',
    signal?: AbortSignal,
  ): Promise<void> {
    const body = { snapshot_type: type, snapshot_path: files.stateFile, mem_file_path: files.memoryFile };
    await this.http.call({ method: 'PUT', path: '/snapshot/create', body, limitMs: CAPTURE_LIMIT_MS }, signal);
  }

  async close(): Promise<void> {
    await this.http.close();
  }
}
