import { GetHostRequest, GetHostResponse } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { packageVersion } from '../version.js';
import type { Define } from './define.js';

/** The command must answer without a daemon too, so a daemon that is stuck gets no more than this. */
const DAEMON_DEADLINE_MS = 2_000;

export const defineVersion: Define = (program, run) => {
  program
    .command('version')
    .description('print the versions of this program and of the daemon, when it can be reached')
    .action(() =>
      run(async (context) => {
        const client = packageVersion();
        const { host, address } = context.client;
        const daemon = await context.client
          .unary<GetHostRequest, GetHostResponse>(host.getHost.bind(host), {}, DAEMON_DEADLINE_MS)
          .then(({ version }) => version)
          .catch(() => null);
        await context.print({
          json: () => Promise.resolve({ client, daemon }),
          text: () => `offshoot ${client}\noffshootd ${daemon ?? 'not reachable'} (${address})`,
        });
      }),
    );
};
