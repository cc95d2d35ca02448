import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';

/** Loads a ruleset as one transaction: all of it or nothing. @throws as {@link loadRuleset} */
export type LoadRuleset = (ruleset: string) => Promise<void>;

/** Where Debian has the programs of the administrator; the PATH of a service or of `su` may lack them. */
const ADMIN_PATH = '/usr/sbin:/sbin';

/**
 * Loads `ruleset` as one transaction: all of it or nothing.
 * @param path folders in which the program is looked for, between colons
 * @throws Unsupported when nft is missing or refuses (its own words in the message)
 */
export async function loadRuleset(ruleset: string, path = `${process.env.PATH ?? ''}:${ADMIN_PATH}`): Promise<void> {
  const nft = spawn('nft', ['-f', '-'], { env: { PATH: path, LC_ALL: 'C' }, stdio: ['pipe', 'ignore', 'pipe'] });
  let stderr = '';
  nft.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // One that ends without reading all of it says why by itself.
  nft.stdin.on('error', () => undefined).end(ruleset);
  try {
    const [code, signal] = (await once(nft, 'close')) as [number | null, string | null];
    if (code === 0) return;
    const [said = ''] = stderr.split('\n', 1);
    throw refused(said === '' ? `it ended with ${code === null ? String(signal) : `status ${String(code)}`}` : said);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT')
      throw new Unsupported('nft is not installed (package nftables)', { reason: 'NFT_MISSING' });
    throw errnoOf(error) === undefined ? error : refused(messageOf(error));
  }
}

const refused = (why: string): Unsupported =>
  new Unsupported(`nft refused the packet filter: ${why}`, { reason: 'NFT_REFUSED' });
