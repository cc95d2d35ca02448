import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CloudHypervisorApi } from '../../host-agent/src/drivers/cloud-hypervisor/cloud-hypervisor-api.js';
import { processEnded } from '../../host-agent/src/os/process-identity.js';
import { deliver, deliverAndResume, unlessGone } from '../bare-guest/guest-control.js';
import { NOTHING_LEFT, leftIn } from '../bare-guest/left-behind.js';
import { ConformanceLab, type Base } from '../conformance/conformance-lab.js';
import { CLOUD_HYPERVISOR } from '../conformance/subjects/cloud-hypervisor.js';

const missing = await CLOUD_HYPERVISOR.missing();

describe.skipIf(missing !== '')(`Cloud Hypervisor: how VMs end${missing && ` (skipped: ${missing})`}`, () => {
  let lab: ConformanceLab;
  let base: Base;
  beforeAll(async () => {
    lab = await ConformanceLab.open(CLOUD_HYPERVISOR);
    base = await lab.base('source');
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it('ends when its guest powers off, in order, and says so', async () => {
    const { vm, spec } = await lab.fork('off', base);
    await unlessGone(deliverAndResume(vm, 'poweroff'));
    expect(await vm.exited).toMatchObject({ code: 0, signal: null, cause: 'powered-off' });
    await vm.kill();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });

  it('tells a daemon that comes later that its guest powered off meanwhile', async () => {
    const { vm, spec } = await lab.fork('meanwhile', base);
    {
      await using memory = await vm.openMemory();
      await deliver(memory, 'poweroff');
    }
    await vm.detach();
    const api = new CloudHypervisorApi(spec);
    await unlessGone(api.resume());
    while (await api.isRunning()); // nobody else is there to be told
    await api.close();
    const adopted = lab.keep((await lab.newDriver().adopt(vm.process, spec))!);
    expect(await adopted.exited).toMatchObject({ code: 0, signal: null, cause: 'powered-off' });
    await adopted.kill();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });

  it('does not boot a guest anew that resets the machine while nobody looks', async () => {
    const { vm, spec } = await lab.fork('meanwhile', base);
    {
      await using memory = await vm.openMemory();
      await deliver(memory, 'reset');
    }
    await vm.detach();
    const api = new CloudHypervisorApi(spec);
    await unlessGone(api.resume());
    await processEnded(vm.process);
    await api.close();
    expect(await lab.newDriver().adopt(vm.process, spec)).toBeUndefined();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });

  it('ends when somebody tells its VMM to, which is not the guest', async () => {
    const { vm, spec } = await lab.launch('told');
    process.kill(vm.process.pid, 'SIGTERM');
    expect(await vm.exited).toMatchObject({ code: 0, signal: null, cause: 'told-to' });
    await vm.kill();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });
});
