/** Reads from a request and its answer what was done to a Lease. */
import type { IncomingMessage } from 'node:http';
import { monotonic } from '../processes/programs/calls.js';
import type { LeaseChange, LeaseRecord, LeaseWrite } from './evidence.js';
import { isTicket, processOf, ticketsIn } from './line.js';

const VERBS: Record<string, LeaseWrite['verb']> = {
  POST: 'create',
  PUT: 'replace',
  PATCH: 'patch',
  DELETE: 'delete',
};

/** RFC 6902. */
interface Operation {
  readonly op: string;
  readonly path: string;
  readonly value?: unknown;
}

/** What a request says. */
type Said = Pick<LeaseWrite, 'basedOn' | 'sent' | 'change'>;

export function isWrite({ method }: Pick<IncomingMessage, 'method'>): boolean {
  return VERBS[method ?? ''] !== undefined;
}

/**
 * Notes a write that is about to be sent to the API server; to be called again with its answer. Does
 * nothing, and returns undefined, for a request that is none.
 */
export function startWrite(
  writes: LeaseWrite[],
  author: string,
  { method, url }: Pick<IncomingMessage, 'method' | 'url'>,
  body: Buffer,
  suffered?: LeaseWrite['suffered'],
): ((status: number, content?: Buffer) => LeaseWrite) | undefined {
  const verb = VERBS[method ?? ''];
  const path = /\/leases(?:\/([^?/]+))?(?:\?|$)/.exec(url ?? '');
  if (verb === undefined || path === null) {
    return undefined;
  }
  const said = read(verb, body);
  const started: LeaseWrite = {
    author,
    verb,
    lease: path[1] ?? said.sent?.metadata.name ?? '',
    ...said,
    suffered,
    forwardedAt: monotonic(),
    answeredAt: Infinity,
    status: undefined,
    stored: undefined,
  };
  const index = writes.push(started) - 1;
  return (status, content) => {
    const hasRecord = status < 300 && verb !== 'delete';
    return (writes[index] = {
      ...started,
      answeredAt: monotonic(),
      status,
      stored: hasRecord ? parse(content) : undefined,
    });
  };
}

function read(verb: LeaseWrite['verb'], body: Buffer): Said {
  if (verb === 'delete') {
    const basedOn = parse(body)?.preconditions ?? {};
    return { basedOn, sent: undefined };
  }
  if (verb === 'patch') {
    const patch: Operation[] | LeaseRecord = JSON.parse(body.toString());
    return Array.isArray(patch) ? readJsonPatch(patch) : readMergePatch(patch);
  }
  const sent = parse(body);
  return { basedOn: sent?.metadata ?? {}, sent };
}

function readMergePatch(sent: LeaseRecord): Said {
  const { metadata, ...rest } = sent;
  const { uid, resourceVersion, annotations = {}, ...others } = metadata;
  const changed = Object.entries<string | null>(annotations);
  const isOfLine =
    Object.keys({ ...rest, ...others }).length === 0 &&
    changed.every(([name]) => isTicket(name));
  return {
    basedOn: { uid, resourceVersion },
    sent,
    change: changeOf(changed, { tested: undefined, isOfLine }),
  };
}

function readJsonPatch(patch: readonly Operation[]): Said {
  const uid = testedAt(patch, '/metadata/uid');
  const found = testedAt(patch, '/spec');
  const tested = isSpec(found) ? found : undefined;
  const spec: Record<string, unknown> = { ...tested };
  const annotations: [name: string, value: string | null][] = [];
  let isOfLine = true;
  for (const { op, path, value } of patch) {
    if (op === 'test') {
      continue;
    }
    const [, annotation] = /^\/metadata\/annotations\/(.*)$/.exec(path) ?? [];
    const [, field] = /^\/spec\/(.*)$/.exec(path) ?? [];
    const name = unescape(annotation ?? '');
    isOfLine &&= isTicket(name);
    if (annotation !== undefined) {
      const isAdded = op !== 'remove' && typeof value === 'string';
      annotations.push([name, isAdded ? value : null]);
    } else if (field !== undefined) {
      spec[field] = value;
    } else if (path === '/spec') {
      Object.assign(spec, value);
    }
  }
  return {
    basedOn: { uid: typeof uid === 'string' ? uid : undefined },
    sent: { metadata: { name: '' }, spec },
    change: changeOf(annotations, { tested, isOfLine }),
  };
}

function testedAt(patch: readonly Operation[], path: string): unknown {
  return patch.find((each) => each.op === 'test' && each.path === path)?.value;
}

function isSpec(value: unknown): value is LeaseRecord['spec'] {
  return typeof value === 'object' && value !== null;
}

function changeOf(
  annotations: readonly (readonly [name: string, value: string | null])[],
  rest: Pick<LeaseChange, 'tested' | 'isOfLine'>,
): LeaseChange {
  const tickets = annotations.filter(([name]) => isTicket(name));
  return {
    ...rest,
    added: Object.fromEntries(
      tickets.filter((each): each is [string, string] => each[1] !== null),
    ),
    removed: tickets
      .filter(([, value]) => value === null)
      .map(([name]) => name),
  };
}

/** RFC 6901. */
function unescape(name: string): string {
  return name.replaceAll('~1', '/').replaceAll('~0', '~');
}

function parse(
  content: Buffer = Buffer.of(),
): (LeaseRecord & { preconditions?: LeaseWrite['basedOn'] }) | undefined {
  return content.length === 0 ? undefined : JSON.parse(content.toString());
}

/** Whether the API server has said that it did as it was asked. */
export function isApplied({ status }: LeaseWrite): boolean {
  return status !== undefined && status < 300;
}

/** The process that has got a place in line by this write. */
export function enrolledBy(write: LeaseWrite): string | undefined {
  const { change } = write;
  const [ticket] = change?.isOfLine ? ticketsIn(change.added) : [];
  return isApplied(write) && ticket ? processOf(ticket.identity) : undefined;
}

/** The process to which this write passes the lock on. */
export function grantedBy(write: LeaseWrite): string | undefined {
  const holder = write.stored?.spec?.holderIdentity ?? '';
  const isGrant =
    write.change?.isOfLine === false &&
    holder !== '' &&
    processOf(holder) !== write.author;
  return isGrant ? processOf(holder) : undefined;
}
