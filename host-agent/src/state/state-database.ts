import Database from 'better-sqlite3';
import { migrate } from './schema.js';

/**
 * The daemon's books (SQLite, WAL, one writer): one connection for all that is kept in them.
 * @throws Corrupt when a newer version wrote it
 */
export function openStateDatabase(path: string): Database.Database {
  const database = new Database(path);
  try {
    database.pragma('journal_mode = WAL');
    // A commit survives the death of any process; only a power cut can lose the last ones, and then the VMs are gone too.
    database.pragma('synchronous = NORMAL');
    migrate(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}
