import type {
  CreateSnapshotRequest,
  ListSnapshotsRequest,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import type { CreateSnapshotCommand, ListSnapshotsCommand } from '../app/commands.js';
import { parseLabels, parseName, parsePage, parseReference } from './field-parsers.js';
import { collecting } from './violations.js';

export const parseCreateSnapshot = (request: CreateSnapshotRequest): CreateSnapshotCommand =>
  collecting((violations) => ({
    instance: parseReference('instance', request.instance, violations),
    name: parseName('name', request.name, violations),
    labels: parseLabels('labels', request.labels, violations),
    freezeWorkload: request.freezeWorkload ?? true,
    waitDurable: request.waitDurable ?? true,
  }));

export const parseListSnapshots = (request: ListSnapshotsRequest): ListSnapshotsCommand =>
  collecting((violations) => ({
    ...parsePage(request, violations),
    instance: request.instance === '' ? '' : parseReference('instance', request.instance, violations),
    labels: parseLabels('labels', request.labels, violations),
  }));

/** For requests that only name a snapshot. */
export const parseSnapshot = (request: { snapshot: string }): string =>
  collecting((violations) => parseReference('snapshot', request.snapshot, violations));
