import type { TlsMaterial } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { readOption } from './workload-files.js';

export interface TlsOptions {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
}

/** What the options name; undefined where none is given. @throws InvalidInput naming the option */
export async function readTls({ tlsCert, tlsKey, tlsCa }: TlsOptions): Promise<TlsMaterial | undefined> {
  if (tlsCert === undefined && tlsKey === undefined && tlsCa === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined)
    throw InvalidInput.field('--tls-cert', 'and --tls-key must be given together, also for --tls-ca');
  return {
    certificate: (await readOption('--tls-cert', tlsCert)).toString(),
    privateKey: (await readOption('--tls-key', tlsKey)).toString(),
    authorities: tlsCa === undefined ? '' : (await readOption('--tls-ca', tlsCa)).toString(),
  };
}
