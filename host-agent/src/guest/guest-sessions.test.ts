import { once } from 'node:events';
import { NO_SESSION, encodeData, encodeSync, newSessionId } from '@offshoot/shared/channel/wire.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GuestLink } from '../ports/guest-link.js';
import { LinkLab } from './testing/link-lab.js';
import { CREDENTIAL, BOOT_ID, soon, task } from './testing/scripted-guest.js';

describe('sessions on the link to a guest', () => {
  let lab: LinkLab;
  beforeEach(async () => {
    lab = await LinkLab.start();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  it('writes the marker of a new session before wake returns', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    const before = lab.guest.syncs.length;
    const sync = once(lab.guest.server, 'sync');
    opened.wake();
    await sync;
    expect(lab.guest.syncs.length).toBe(before + 1);
    expect(new Set(lab.guest.syncs).size).toBe(lab.guest.syncs.length);
  });

  it('says nothing in the session of a wake until it is told to speak', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    await lab.until(() => lab.guest.calls.length === 1);
    const sync = once(lab.guest.server, 'sync');
    opened.wake();
    await sync;
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(lab.guest.calls).toEqual(['output from 0']);
    opened.speak();
    await lab.until(() => lab.guest.calls.length === 2);
    opened.speak();
  });

  it('speaks at once when something is asked of the guest after a wake', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    opened.wake();
    await opened.thaw(CREDENTIAL, AbortSignal.timeout(900)); // sooner than it would speak by itself
    expect(lab.guest.calls).toContain('thaw');
  });

  it.each<[string, (link: GuestLink) => unknown]>([
    [
      'it is woken',
      (link) => {
        link.wake();
      },
    ],
    ['something is asked of it', (link) => link.thaw(CREDENTIAL, soon())],
  ])('lets a guest that has long been running sleep on until %s', async (_when, act) => {
    const attached = lab.attach();
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(lab.guest.connections).toBe(0);
    await act(attached);
    expect((await attached.hello(soon())).bootId).toBe(BOOT_ID);
    expect(lab.guest.connections).toBe(1);
    expect(lab.guest.syncs.length).toBe(1);
  });

  it('finds out that the VM of a guest that slept on is gone when something is asked of it', async () => {
    const attached = lab.attach();
    lab.alive = false;
    await expect(attached.hello(soon())).rejects.toMatchObject({ reason: 'GUEST_GONE' });
  });

  it('discards the second half of whatever an earlier host was told', async () => {
    lab.guest.answers = (session) => {
      lab.guest.write(Buffer.concat(encodeData(Buffer.alloc(200, 'stale'))).subarray(7));
      lab.guest.write(encodeSync(newSessionId())); // the answer to a sync of that earlier host
      lab.guest.write(Buffer.concat(encodeData(Buffer.from('PRI * HTTP/2.0'))));
      return session !== '';
    };
    const opened = await lab.open();
    expect((await opened.hello(soon())).bootId).toBe(BOOT_ID);
  });

  it('asks again when a sync is not answered within a second', async () => {
    lab.guest.answers = () => lab.guest.syncs.length > 1;
    const opened = await lab.open();
    await opened.hello(soon());
    expect(lab.guest.syncs.length).toBe(2);
  });

  it('begins a session when an agent that just started asks for one', async () => {
    lab.guest.answers = () => lab.guest.syncs.length > 1;
    const opened = await lab.open();
    await once(lab.guest.server, 'sync');
    lab.guest.write(encodeSync(NO_SESSION));
    await opened.hello(soon());
  });

  it('dials again when the channel breaks and goes on', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    const again = once(lab.guest.server, 'sync');
    lab.guest.socket?.destroy();
    await again;
    await opened.reconfigureNetwork(
      { slot: 1, mac: '02:00:00:00:00:01', ipv4: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1' },
      soon(),
    );
    expect([lab.guest.connections, lab.guest.calls.at(-1)]).toEqual([2, 'network 02:00:00:00:00:01']);
  });

  it('fails a call whose session is superseded', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    const call = opened.startWorkload({ argv: ['silent'], env: {}, workingDirectory: '', files: [] }, soon());
    const refused = expect(call).rejects.toMatchObject({ kind: 'Unreachable' });
    opened.wake();
    await refused;
  });

  it('takes nothing of a nonsensical set of mailboxes and begins anew', async () => {
    lab.guest.mailboxes = [task({ segmentAddresses: [4097n] })];
    const opened = await lab.open();
    const again = lab.until(() => lab.mailboxChanges.length > 0);
    await once(lab.guest.server, 'sync');
    lab.guest.mailboxes = [task()];
    await opened.hello(soon());
    await again;
    expect(lab.mailboxChanges.every((names) => names.join() === 'task')).toBe(true);
  });

  it('survives a guest that speaks neither the wire nor HTTP/2', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    lab.guest.answers = (session) => {
      lab.guest.answers = () => true;
      lab.guest.write(encodeSync(session));
      lab.guest.write(Buffer.concat([...encodeData(Buffer.alloc(5000, 0xff)), Buffer.alloc(100, 0x7f)]));
      return false;
    };
    opened.wake();
    await once(lab.guest.server, 'sync');
    expect(await opened.startWorkload({ argv: ['true'], env: {}, workingDirectory: '', files: [] }, soon())).toBe(77);
  });
});
