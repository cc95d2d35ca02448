import { Unsupported } from '@offshoot/shared/errors.js';
import { execa } from 'execa';

/** Where Debian has the programs of the administrator; the PATH of a service or of `su` may lack them. */
const ADMIN_PATH = '/usr/sbin:/sbin';

/**
 * Loads `ruleset` as one transaction: all of it or nothing.
 * @throws Unsupported when nft is missing or refuses (its own words in the message)
 */
export async function loadRuleset(ruleset: string): Promise<void> {
  const result = await execa('nft', ['-f', '-'], {
    input: ruleset,
    env: { PATH: `${process.env.PATH ?? ''}:${ADMIN_PATH}`, LC_ALL: 'C' },
    reject: false,
  });
  if (!result.failed) return;
  if (result.code === 'ENOENT')
    throw new Unsupported('nft is not installed (package nftables)', { reason: 'NFT_MISSING' });
  const [said = ''] = result.stderr.split('\n', 1);
  throw new Unsupported(`nft refused the packet filter: ${said === '' ? result.shortMessage : said}`, {
    reason: 'NFT_REFUSED',
    cause: result.cause,
  });
}
