import type { Duplex } from 'node:stream';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { GuestServiceService } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { guestService, type GuestServiceParts } from './guest-service.js';

/** Files of a workload (1 MiB) and what is around them. */
const MAX_REQUEST = 1280 * 1024;

/** Returns what serves offshoot.guest.v1 on a session's stream. No timers: keepalive and idle limits stay off. */
export function serveSessions(parts: GuestServiceParts): (stream: Duplex) => void {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_REQUEST,
    'grpc.max_send_message_length': 256 * 1024,
    'grpc.max_concurrent_streams': 32,
    'grpc.enable_channelz': 0,
  });
  server.addService(GuestServiceService, guestService(parts));
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return (stream) => {
    injector.injectConnection(stream);
  };
}
