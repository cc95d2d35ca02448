import { once } from 'node:events';
import { existsSync, watch, type FSWatcher } from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { errnoOf } from '@offshoot/shared/errors.js';

/**
 * For the listening socket of a program that makes it itself: set up before the program is started, it misses nothing, because
 * the folder tells when the name appears.
 */
export class SocketWatch implements Disposable {
  private readonly watcher: FSWatcher;
  private readonly made: Promise<void>;

  constructor(private readonly path: string) {
    this.watcher = watch(dirname(path));
    this.made = new Promise((resolve, reject) => {
      this.watcher.on('change', (_, name) => {
        if (name === basename(path) && existsSync(path)) resolve();
      });
      this.watcher.on('error', reject);
    });
    this.made.catch(() => undefined); // whoever waits hears of it there
  }

  /** Settles once a connection has been made, and closed again. @throws the signal's reason; system errors but ECONNREFUSED */
  async accepts(signal: AbortSignal): Promise<void> {
    const done = new AbortController();
    const aborted = once(signal, 'abort', { signal: done.signal });
    aborted.catch(() => undefined);
    try {
      signal.throwIfAborted();
      await Promise.race([this.made, aborted]);
      for (;;) {
        signal.throwIfAborted();
        if (await this.takesConnection(signal)) return;
        // Between bind(2), which makes the name, and listen(2) a program does nothing else: this is no polling.
        await nextTurn();
      }
    } finally {
      done.abort();
    }
  }

  [Symbol.dispose](): void {
    this.watcher.close();
  }

  private async takesConnection(signal: AbortSignal): Promise<boolean> {
    const socket = connect({ path: this.path });
    try {
      await once(socket, 'connect', { signal });
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (errnoOf(error) === 'ECONNREFUSED') return false;
      throw error;
    } finally {
      socket.destroy();
    }
  }
}
