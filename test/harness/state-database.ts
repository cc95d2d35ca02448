import { join } from 'node:path';
import type { Snapshot } from '@offshoot/host-agent/domain/snapshot.js';
import Database from 'better-sqlite3';
import type { TestHost } from './test-host.js';

/** The books of a daemon that is not running, for tests that change what they say. */
export class StateDatabase implements Disposable {
  private constructor(private readonly database: Database.Database) {}

  static open(host: TestHost): StateDatabase {
    return new StateDatabase(new Database(join(host.machine.stateDirectory, 'state.db')));
  }

  changeSnapshot(name: string, change: (snapshot: Snapshot) => Snapshot): void {
    const row = this.database
      .prepare<[string], { record: string }>('SELECT record FROM snapshots WHERE name = ?')
      .get(name)!;
    const changed = change(JSON.parse(row.record) as Snapshot);
    this.database.prepare('UPDATE snapshots SET record = ? WHERE name = ?').run(JSON.stringify(changed), name);
  }

  [Symbol.dispose](): void {
    this.database.close();
  }
}
