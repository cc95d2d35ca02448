import { InvalidState } from '@offshoot/shared/errors.js';
import * as z from 'zod';
import type { MachineSpec } from '../../ports/driver.js';
import { HttpApi, type ApiDialect } from '../http-api/http-api.js';
import { CALL_LIMIT_MS, CAPTURE_LIMIT_MS } from './time-limits.js';
import { filesOf } from './vmm-files.js';

/** All we send is a path. */
const MAX_REQUEST_BYTES = 51_200;

const FAULT = z.array(z.string());
const VM = z.object({ state: z.enum(['Created', 'Running', 'Shutdown', 'Paused', 'BreakPoint']) });
const VMM = z.object({ build_version: z.string().transform((version) => version.replace(/^v/, '')) });

const DIALECT: ApiDialect = {
  vmm: 'Cloud Hypervisor',
  maxRequestBytes: MAX_REQUEST_BYTES,
  limitMs: CALL_LIMIT_MS,
  faultOf: (body) => {
    try {
      // From the general to the cause, some with a trace of addresses behind it.
      const messages = FAULT.parse(JSON.parse(body));
      return messages.map((message) => message.split('\n\nStack backtrace:')[0]).join(': ');
    } catch {
      return body;
    }
  },
};

const path = (name: string): string => `/api/v1/${name}`;

/** What we ask of a Cloud Hypervisor (its API: vmm/src/api/openapi/cloud-hypervisor.yaml). Errors as {@link HttpApi} has them. */
export class CloudHypervisorApi {
  private readonly http: HttpApi;

  constructor(spec: Pick<MachineSpec, 'runDirectory'>) {
    this.http = new HttpApi(filesOf(spec).api, DIALECT);
  }

  async version(signal?: AbortSignal): Promise<string> {
    return (await this.http.ask(path('vmm.ping'), VMM, signal)).build_version;
  }

  /** Whether the guest's processors run. */
  async isRunning(signal?: AbortSignal): Promise<boolean> {
    return (await this.http.ask(path('vm.info'), VM, signal)).state === 'Running';
  }

  /** Returns with the guest's processors stopped and its devices at rest; also when they were. */
  async pause(signal?: AbortSignal): Promise<void> {
    await this.unless('vm.pause', async () => !(await this.isRunning(signal)), signal);
  }

  async resume(signal?: AbortSignal): Promise<void> {
    await this.unless('vm.resume', () => this.isRunning(signal), signal);
  }

  /** Writes the state of a paused VM as files into a folder, which exists. */
  async snapshot(folder: string, signal?: AbortSignal): Promise<void> {
    const body = { destination_url: `file://${folder}` };
    await this.http.call({ method: 'PUT', path: path('vm.snapshot'), body, limitMs: CAPTURE_LIMIT_MS }, signal);
  }

  async close(): Promise<void> {
    await this.http.close();
  }

  /** Cloud Hypervisor refuses to pause what stands, and to resume what runs; asked only then, since mostly it is not so. */
  private async unless(name: string, done: () => Promise<boolean>, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.http.call({ method: 'PUT', path: path(name) }, signal);
    } catch (error) {
      if (error instanceof InvalidState && (await done())) return;
      throw error;
    }
  }
}
