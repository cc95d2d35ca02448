import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Corrupt, InvalidState } from '@offshoot/shared/errors.js';
import type { CloudHypervisorApi } from './cloud-hypervisor-api.js';
import { pack, takeSnapshot, unpack, writeSnapshot } from './snapshot-files.js';

describe("a snapshot of Cloud Hypervisor's", () => {
  let directory: string;
  let folder: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'snapshot-'));
    folder = join(directory, 'snapshot');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  /** Writes its parts in this order, each as a new file, as 54.0 does; `memory` when the VM's is mapped privately. */
  const apiThat = (memory: boolean, failure?: Error): CloudHypervisorApi => {
    const snapshot = (into: string): Promise<void> => {
      if (failure !== undefined) return Promise.reject(failure);
      writeFileSync(join(into, 'config.json'), '{"c":1}', { flag: 'wx' });
      writeFileSync(join(into, 'state.json'), '{"s":1}', { flag: 'wx' });
      try {
        if (memory) writeFileSync(join(into, 'memory-ranges'), 'all of it', { flag: 'wx' });
        return Promise.resolve();
      } catch {
        const message = `Error creating memory snapshot file "${into}/memory-ranges": File exists (os error 17)`;
        return Promise.reject(new InvalidState(message, { reason: 'HYPERVISOR_REFUSED' }));
      }
    };
    return { snapshot } as unknown as CloudHypervisorApi;
  };

  it.each([false, true])(
    'is taken without the memory, also when that is mapped privately: %s',
    async (privateMemory) => {
      writeFileSync(folder, 'left by another');
      const parts = await takeSnapshot(apiThat(privateMemory), folder, { privateMemory });
      expect(parts).toEqual({ config: '{"c":1}', state: '{"s":1}' });
    },
  );

  it('fails when that fails for another reason', async () => {
    const refusal = new InvalidState('no space left', { reason: 'HYPERVISOR_REFUSED' });
    await expect(takeSnapshot(apiThat(true, refusal), folder, { privateMemory: true })).rejects.toBe(refusal);
  });

  it('is one file for a capture, and two again where it is loaded', async () => {
    const parts = { config: '{"a":"\\u0000\\""}', state: '{"n":18446744073709551615}' };
    expect(unpack(pack(parts), 'x')).toEqual(parts);
    await writeSnapshot(folder, parts);
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'state.json']);
    expect(readFileSync(join(folder, 'state.json'), 'utf8')).toBe(parts.state);
  });

  it.each(['', '{}', '{"format":"offshoot-cloud-hypervisor-2","config":"","state":""}'])(
    'is not made of anything else: %s',
    (text) => {
      expect(() => unpack(text, '/a/device-state')).toThrow(Corrupt);
    },
  );
});
