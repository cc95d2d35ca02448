import { Metadata } from '@grpc/grpc-js';
import type { FieldViolation } from '@offshoot/shared/errors.js';
import protobuf from 'protobufjs';

/** Trailer in which gRPC carries a serialised `google.rpc.Status`. */
export const STATUS_DETAILS_KEY = 'grpc-status-details-bin';

/** `ErrorInfo.domain` of everything this daemon says; a status without it comes from somewhere between. */
export const ERROR_DOMAIN = 'offshoot';

const TYPE_URL_PREFIX = 'type.googleapis.com/';
const ERROR_INFO = 'google.rpc.ErrorInfo';
const BAD_REQUEST = 'google.rpc.BadRequest';

/** google/rpc/status.proto and the two messages of google/rpc/error_details.proto that are used. Served by reflection too. */
export const STATUS_DESCRIPTORS = {
  nested: {
    google: {
      nested: {
        protobuf: {
          nested: { Any: { fields: { type_url: { type: 'string', id: 1 }, value: { type: 'bytes', id: 2 } } } },
        },
        rpc: {
          nested: {
            Status: {
              fields: {
                code: { type: 'int32', id: 1 },
                message: { type: 'string', id: 2 },
                details: { rule: 'repeated', type: 'google.protobuf.Any', id: 3 },
              },
            },
            ErrorInfo: {
              fields: {
                reason: { type: 'string', id: 1 },
                domain: { type: 'string', id: 2 },
                metadata: { keyType: 'string', type: 'string', id: 3 },
              },
            },
            BadRequest: {
              fields: { field_violations: { rule: 'repeated', type: 'FieldViolation', id: 1 } },
              nested: {
                FieldViolation: {
                  fields: { field: { type: 'string', id: 1 }, description: { type: 'string', id: 2 } },
                },
              },
            },
          },
        },
      },
    },
  },
};
const root = protobuf.Root.fromJSON(STATUS_DESCRIPTORS);
const Status = root.lookupType('google.rpc.Status');
const ErrorInfo = root.lookupType(ERROR_INFO);
const BadRequest = root.lookupType(BAD_REQUEST);

/** What stands behind a status besides its code and message. */
export interface StatusDetails {
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Empty unless the status is INVALID_ARGUMENT. */
  readonly violations: readonly FieldViolation[];
}

const any = (name: string, value: Uint8Array): object => ({ type_url: `${TYPE_URL_PREFIX}${name}`, value });

/** A serialised `google.rpc.Status` with `ErrorInfo` and, when there are violations, `BadRequest`. */
export function encodeStatus(code: number, message: string, details: StatusDetails): Buffer {
  const { reason, domain, metadata, violations } = details;
  const packed = [any(ERROR_INFO, ErrorInfo.encode({ reason, domain, metadata }).finish())];
  if (violations.length > 0)
    packed.push(any(BAD_REQUEST, BadRequest.encode({ field_violations: [...violations] }).finish()));
  return Buffer.from(Status.encode({ code, message, details: packed }).finish());
}

/** Reads the details out of a call's trailers; undefined when there are none, or none that can be read. */
export function decodeStatusDetails(trailers: Metadata): StatusDetails | undefined {
  const [bytes] = trailers.get(STATUS_DETAILS_KEY);
  if (!Buffer.isBuffer(bytes)) return undefined;
  try {
    let details: StatusDetails | undefined;
    let violations: readonly FieldViolation[] = [];
    const { details: packed } = plain(Status, bytes) as { details: { type_url: string; value: Uint8Array }[] };
    for (const { type_url, value } of packed) {
      if (type_url === `${TYPE_URL_PREFIX}${ERROR_INFO}`)
        details = { ...(plain(ErrorInfo, value) as Omit<StatusDetails, 'violations'>), violations: [] };
      if (type_url === `${TYPE_URL_PREFIX}${BAD_REQUEST}`)
        violations = (plain(BadRequest, value) as { field_violations: FieldViolation[] }).field_violations;
    }
    return details === undefined ? undefined : { ...details, violations };
  } catch {
    return undefined; // a proxy may put anything here; the status itself still counts
  }
}

/** Decodes into an object that has every field of the descriptor above, which is what makes the casts true. */
const plain = (type: protobuf.Type, bytes: Uint8Array): unknown =>
  type.toObject(type.decode(bytes), { defaults: true, arrays: true, objects: true });
