import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AS_ROOT, BY_HELPER, INSTANCES, titleOf, type Lab } from '../privileged/testing/tap-adapters.js';
import { NamespaceLab, WITHOUT } from './testing/namespace-lab.js';

const NOTHING_MADE = { neighbours: '', rules: '' };

for (const adapter of [AS_ROOT, BY_HELPER])
  describe.skipIf(adapter.missing !== undefined)(
    `The network in tap mode, ${titleOf(adapter)}`,
    { timeout: 60_000 },
    () => {
      const { kept, capacity, withoutNft } = adapter;
      const stays = kept > 0;
      const [idle, attached] = stays ? [1 + kept, 1 + kept] : [1, 2];
      let lab: Lab;
      beforeAll(async () => {
        lab = await adapter.open();
      });
      afterAll(() => lab[Symbol.asyncDispose]());

      it('sets up bridge, address and filter, and takes all of it away when nobody uses it', async () => {
        const { before, during, after, status } = await lab.run('lifecycle');
        expect(status).toMatchObject({
          mode: 'tap',
          modeReason: '',
          gateway: '10.213.0.1',
          ackBindAddress: '10.213.0.1',
          capacity,
          sourceAddressIsGuest: true,
        });
        expect(during.links).toContain(`master ${status.bridge} state`);
        expect(during.addresses).toContain('inet 10.213.0.1/20');
        expect(during.addresses).not.toContain('inet6');
        expect(during.rules).toContain('10.213.15.164');
        // Without /etc/protocols nft prints the protocol's number.
        expect(during.rules).toMatch(/\b(udp|17) \. 4711\b/);
        expect(after).toEqual(before);
      });

      it('does without settings of the kernel that cannot be written, and says which', async () => {
        const { mode, warnings } = await lab.run('settingsReadOnly');
        expect(mode).toBe('tap');
        for (const setting of ['rp_filter', 'route_localnet'])
          expect(
            warnings.filter(
              (line) => line.includes('not applied') && line.includes(`/${setting}`) && line.includes('EROFS'),
            ),
          ).toHaveLength(1);
      });

      it('takes over what a killed daemon left without disturbing a running instance', async () => {
        const { before, between, after, heard } = await lab.run('takeover');
        expect(before).toHaveLength(attached);
        expect(between).toEqual(before);
        expect(after).toEqual(before);
        expect(heard).toEqual(['still here from 10.213.0.12']);
      });

      it('gives the bridge the new gateway, and only that, when the subnet was changed', async () => {
        const { addresses, gateway } = await lab.run('newSubnet');
        expect(gateway).toBe('10.99.0.1');
        expect(addresses).toContain('10.99.0.1/24');
        expect(addresses).not.toContain('10.213.');
      });

      it('lets a guest reach the ack port and the configured ports of the gateway, as itself, and nothing else', async () => {
        expect(await lab.run('guestToHost')).toEqual({
          ack: ['to the ack port from 10.213.0.5'],
          extra: ['to a port of the configuration from 10.213.0.5'],
          elsewhere: [],
          closed: [],
        });
      });

      it('answers ARP for the gateway, asked with the own identity, and learns nothing from forged ARP', async () => {
        const { neighbours, ...answers } = await lab.run('arp');
        expect(answers).toEqual({
          own: [{ kind: 'arp', operation: 2, sender: '10.213.0.1', target: '10.213.0.5' }],
          forged: [],
          elsewhere: [],
          roundTheBridge: [],
          claim: [],
        });
        const lines = neighbours.trim().split('\n');
        expect(lines).toHaveLength(stays ? kept : 1);
        for (const line of lines) {
          const [, last = '', mac = ''] =
            /^10\.213\.0\.(\d+) dev ofbr-\S+ lladdr 02:4f:0a:d5:00:([0-9a-f]{2}) PERMANENT\s*$/.exec(line) ?? [];
          expect(Number(last), line).toBe(parseInt(mac, 16));
        }
      });

      it('carries nothing from guest to guest', async () => {
        const { received, expectedMac } = await lab.run('guestToGuest');
        expect(received).toEqual([{ kind: 'udp', to: expectedMac.replaceAll(':', ''), text: 'end' }]);
      });

      it("cuts a fork off that wakes under its source's identity, and lets it through under its own", async () => {
        expect(await lab.run('wakeAsSource')).toEqual([
          'fork as itself from 10.213.0.6',
          'source as itself from 10.213.0.5',
        ]);
      });

      it('keeps a TAP as long as the VMM holds it, and refuses it to anybody else', async () => {
        const { held, busy, released } = await lab.run('heldByVmm');
        expect(held).toHaveLength(attached);
        expect(busy).toMatchObject({ kind: 'Conflict', reason: 'TAP_BUSY' });
        expect(released).toHaveLength(idle);
      });

      it('lets a TAP that a VMM opens by its name stay for that, and go with the VMM', async () => {
        const { kept, closed, early, busy, held, released, backend } = await lab.run('openedByName');
        expect(backend).toEqual({ kind: 'named-tap', name: expect.stringMatching(/^oft-/) as string });
        expect([kept, closed, held, released].map((ports) => ports.length)).toEqual([attached, idle, attached, idle]);
        // One that stays in any case is nobody's to look after.
        if (stays) expect(early).toBeNull();
        else expect(early).toMatchObject({ kind: 'Unreachable', reason: 'TAP_NOT_OPEN' });
        expect(busy).toMatchObject({ kind: 'Conflict', reason: 'TAP_BUSY' });
      });

      it('removes such a TAP that a killed daemon left', async () => {
        const { left, after } = await lab.run('leftByName');
        expect([left.length, after.length]).toEqual([attached, idle]);
      });

      it('refuses an identity that is not of its own pool', async () => {
        for (const error of await lab.run('foreignIdentity'))
          expect(error).toMatchObject({ kind: 'InvalidState', reason: 'NETWORK_IDENTITY_FOREIGN' });
      });

      it('falls back to user mode when the subnet is taken, and names what takes it', async () => {
        const { asked, auto, before, after } = await lab.run('subnetTaken');
        expect(asked).toMatchObject({ kind: 'Unsupported', reason: 'SUBNET_TAKEN' });
        expect(asked.message).toContain('overlaps 10.213.8.');
        expect(asked.message).toContain('on lo');
        expect(auto).toMatchObject({ mode: 'user', ackBindAddress: '127.0.0.1', sourceAddressIsGuest: false });
        expect(auto.modeReason).toContain('choose another network.subnet');
        expect(after).toEqual(before);
      });

      it('falls back to user mode when nft is missing, and leaves nothing', async () => {
        const { asked, auto, after } = await lab.run('nftMissing');
        expect(asked).toMatchObject({ kind: 'Unsupported', reason: withoutNft });
        expect(auto).toMatchObject({ mode: 'user', modeReason: expect.stringContaining('nftables') as string });
        expect(after).toMatchObject(NOTHING_MADE);
        expect(after.links).not.toContain(': of');
      });

      it('undoes a set-up that was cancelled half-way, also in auto mode', async () => {
        const { error, after } = await lab.run('cancelled');
        expect(error).toMatchObject({ kind: 'Aborted' });
        expect(after).toMatchObject(NOTHING_MADE);
      });

      it('says so when somebody took the bridge away, and still cleans up', async () => {
        const { error, after } = await lab.run('bridgeTakenAway');
        expect(error).toMatchObject({ kind: 'Unreachable', reason: 'BRIDGE_UNUSABLE' });
        expect(after).toMatchObject(NOTHING_MADE);
        expect(after.links).not.toContain(': of');
      });
    },
  );

describe.skipIf(AS_ROOT.missing !== undefined)(
  `A daemon that is root, ${titleOf(AS_ROOT)}`,
  { timeout: 60_000 },
  () => {
    let lab: Lab;
    beforeAll(async () => {
      lab = await AS_ROOT.open();
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    it('knows TAPs that no instance has, and removes them unless a process does', async () => {
      const { tap, ...found } = await lab.run('strays');
      expect(tap).toMatch(/^oft-[0-9a-f]{6}-7$/);
      expect(found).toEqual({ unused: [tap], used: [], whileOpen: [tap], removed: [] });
    });
  },
);

describe.skipIf(AS_ROOT.missing !== undefined)(
  `A daemon without rights and without a helper`,
  { timeout: 60_000 },
  () => {
    let namespaces: NamespaceLab;
    beforeAll(async () => {
      namespaces = await NamespaceLab.open();
    });
    afterAll(() => namespaces[Symbol.asyncDispose]());

    it.for(['capabilities', 'root'] as const)(
      'falls back to user mode without %s, saying what is missing',
      async (what) => {
        const { asked, auto } = await namespaces.run('withoutRights', WITHOUT[what]);
        expect(asked).toMatchObject({ kind: 'Unsupported', reason: 'TAP_UNAVAILABLE' });
        expect(auto.mode).toBe('user');
        expect(auto.modeReason).toMatch(/^no right to (open \/dev\/net\/tun|create network devices)/);
      },
    );
  },
);

describe.skipIf(BY_HELPER.missing !== undefined)(
  `A daemon without rights, ${titleOf(BY_HELPER)}`,
  { timeout: 60_000 },
  () => {
    let lab: Lab;
    beforeAll(async () => {
      lab = await BY_HELPER.open();
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    it('opens its own TAPs and makes none', async () => {
      expect(await lab.run('rights')).toEqual({
        uid: 65534,
        alone: expect.objectContaining({ kind: 'Unsupported', reason: 'TAP_UNAVAILABLE' }) as object,
        foreign: 'EPERM',
        mode: 'tap',
        owner: expect.stringMatching(/^(nobody|65534)$/) as string,
      });
    });

    it('knows TAPs that no slot has, and removes them', async () => {
      const { beyond, ...found } = await lab.run('straysOfHelper');
      expect(found).toEqual({ unused: [beyond], used: [], removed: [] });
    });

    it('says so when a hypervisor let its TAP go, which the next start makes anew', async () => {
      const { error, after } = await lab.run('tapUndone');
      expect(error).toMatchObject({ kind: 'Unreachable', reason: 'TAP_UNAVAILABLE' });
      expect(error.message).toContain('until the daemon is restarted');
      expect(after).toHaveLength(1 + INSTANCES);
    });

    it('attaches nothing to a TAP that is not in the bridge', async () => {
      expect(await lab.run('tapElsewhere')).toMatchObject({ kind: 'Unreachable', reason: 'BRIDGE_UNUSABLE' });
    });

    it('is told why root does not have it, or falls back to user mode', async () => {
      const { otherSubnet, auto, otherVersion, noSudo, after } = await lab.run('notAllowed');
      expect(otherSubnet).toMatchObject({ kind: 'Unsupported', reason: 'HELPER_REFUSED' });
      expect(otherSubnet.message).toContain('SUBNET has to be 10.99.0.0/24');
      expect(auto.mode).toBe('user');
      expect(auto.modeReason).toContain('SUBNET has to be 10.99.0.0/24');
      expect(otherVersion).toMatchObject({ reason: 'HELPER_VERSION' });
      expect(noSudo).toMatchObject({ reason: 'HELPER_UNREACHABLE' });
      expect(after).toMatchObject(NOTHING_MADE);
      expect(after.links).not.toContain(': of');
    });
  },
);
