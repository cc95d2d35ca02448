import { availableParallelism } from 'node:os';
import { messageOf } from '@offshoot/shared/errors.js';
import PQueue from 'p-queue';
import { LIVE_STATES } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import type { Context } from './context.js';
import { forkIdentity } from './handoffs/fork-identity.js';
import { thaw } from './held-guest.js';
import { changed, save } from './instance-record.js';
import type { RunningInstance } from './running-instances.js';

type Parts = Pick<Context, 'running' | 'locks' | 'store' | 'files' | 'logger'>;

/** How long a guest may take to take its identity, in milliseconds. */
const IDENTITY_MS = 10_000;
/** A guest that has not answered by then does not keep the next ones waiting, in milliseconds. */
const TURN_MS = 2000;

/**
 * Begins sessions with the guests of VMs that were taken over, as many at a time as there are processors: each of them has some
 * work with it (0.3 s under emulation), and fifty that began at once were heard late or not at all, the daemon with them. Who
 * asks something of a guest does not wait for its turn. Resolves when all have had theirs.
 */
export async function greetGuests(
  context: Parts,
  adopted: readonly Instance[],
  atOnce = availableParallelism(),
): Promise<void> {
  const started = performance.now();
  const queue = new PQueue({ concurrency: atOnce, timeout: TURN_MS });
  // Those that wait for who they are come first.
  const waiting = adopted.filter(({ identityPending }) => identityPending === true);
  const others = adopted.filter((instance) => !waiting.includes(instance));
  await Promise.all(
    [...waiting, ...others].map(async (instance) => {
      const running = context.running.get(instance.id);
      if (running === undefined) return;
      // A paused one does not answer, and finds what wakes it when it goes on.
      if (instance.state !== 'RUNNING') running.link.wake();
      else await queue.add(() => letGo(context, instance, running)).catch(() => undefined);
    }),
  );
  const ms = Math.round(performance.now() - started);
  if (adopted.length > 0)
    context.logger.info({ guests: adopted.length, ms }, 'greeted the guests of the VMs taken over');
}

/** The workload may have been frozen when the daemon ended; where the identity was still to be handed over, that lets it go. */
async function letGo(context: Parts, instance: Instance, running: RunningInstance): Promise<void> {
  // What is asked of a guest is heard in the order it was asked: not in the middle of somebody else's capture.
  let heard: Promise<void>;
  {
    using _lock = await context.locks.exclusive(instance.id, new AbortController().signal);
    if (context.running.get(instance.id) !== running) return;
    heard =
      instance.identityPending === undefined
        ? thaw(running, instance.name, context.logger)
        : takeIdentity(context, instance, running);
  }
  await heard;
}

async function takeIdentity(context: Parts, instance: Instance, running: RunningInstance): Promise<void> {
  const credential = running.credential.issue();
  try {
    await running.link.reconfigureNetwork(forkIdentity(instance, credential), AbortSignal.timeout(IDENTITY_MS));
    using _lock = await context.locks.exclusive(instance.id, new AbortController().signal);
    const now = context.store.byId(instance.id);
    if (now?.identityPending === true && LIVE_STATES.includes(now.state))
      await save(context, changed(now, now.state, { identityPending: undefined }), { durable: false });
  } catch (error) {
    context.logger.warn({ instance: instance.id, error: messageOf(error) }, 'a guest did not take its identity');
  } finally {
    credential.fill(0);
  }
}
