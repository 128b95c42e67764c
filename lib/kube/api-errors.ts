/** Turns every failure of a request into a LeaseStoreError with a reason and a message. */
import {
  isMissingLease,
  isNamespaceTerminating,
  isUnmetCondition,
  retryAfterOf,
  statusOf,
  UnreadableAnswer,
  type ApiStatus,
} from './api-response.js';
import { ExchangeError, type Answer, type Phase } from './http-request.js';
import {
  LeaseStoreError,
  type LeaseStoreFailure,
  type LeaseVerb,
} from './lease-store.js';
import { printable } from '../printable.js';

/** The parts of a request on which messages and `ambiguous` depend. */
export interface Operation {
  readonly verb: LeaseVerb | 'review';
  readonly namespace: string;
  readonly name?: string;
  readonly timeout: number;
}

/** The reason of a 409 that refuses a creation since the object exists. */
const ALREADY_EXISTS = 'AlreadyExists';

const UNDER_WAY: Record<Phase, string> = {
  queue:
    'the request was still waiting for the answers to other requests of this process; renewals go first',
  credentials:
    'the credentials were still being obtained; check the exec plugin or auth provider of the Kubernetes configuration',
  connection:
    'the request was still waiting for a connection; check that the API server can be reached from here, and how many requests are in flight at once',
  answer: 'the request was sent, but no answer arrived',
};

/** The API server answered with an error status. */
export function failureOfAnswer(
  operation: Operation,
  answer: Answer,
  status: ApiStatus = statusOf(answer.body),
): LeaseStoreError {
  const reason =
    operation.verb === 'patch' && isUnmetCondition(status)
      ? 'conflict'
      : reasonOf(answer.status);
  const said = `${answer.status}${status.reason ? ` ${status.reason}` : ''}`;
  return new LeaseStoreError(
    reason,
    `${could(operation)}: the API server answered ${said}. ${reason === 'conflict' ? conflictOf(status) : adviceFor(operation, answer.status, status)}`,
    {
      status: answer.status,
      retryAfter: retryAfterOf(answer.headers, status),
      ambiguous: isWrite(operation) && mayHaveBeenApplied(answer.status),
      alreadyExists: answer.status === 409 && status.reason === ALREADY_EXISTS,
    },
  );
}

/** The API server answered with success, but the body can't be read. */
export function failureOfContent(
  operation: Operation,
  answer: Answer,
  fault: UnreadableAnswer,
): LeaseStoreError {
  return new LeaseStoreError(
    'server',
    `${could(operation)}: the answer (${answer.status}) can't be read, since ${fault.message}. Check the proxies between this process and the API server.`,
    { status: answer.status, ambiguous: isWrite(operation) },
  );
}

/** Watches keep ending as soon as they begin. */
export function failureOfWatch(operation: Operation): LeaseStoreError {
  return new LeaseStoreError(
    'server',
    `${could(operation)}: every watch breaks, ends at once or starts from a resourceVersion that has expired. Check the proxies between this process and the API server.`,
  );
}

/** A list never ends: its pages bring no new Lease. */
export function failureOfList(
  operation: Operation,
  { status }: Answer,
): LeaseStoreError {
  return new LeaseStoreError(
    'server',
    `${could(operation)}: the list does not end, since its pages (the last with status ${status}) bring no new Lease. Check the proxies between this process and the API server.`,
    { status },
  );
}

/** The API server has asked for a pause that is longer than the request may take, so it is not sent. */
export function failureOfPause(
  operation: Operation,
  left: number,
): LeaseStoreError {
  return new LeaseStoreError(
    'throttled',
    `${could(operation)}: the API server has refused another request and asked this process to pause (Retry-After): ${Math.ceil(left)} ms are left.`,
    { retryAfter: left },
  );
}

/** The request got no answer. */
export function failureOfExchange(
  operation: Operation,
  error: ExchangeError,
): LeaseStoreError {
  const { fault, phase, code, address } = error;
  const at = address === undefined ? '' : ` at ${address}`;
  const reason: LeaseStoreFailure =
    fault === 'credentials'
      ? 'unauthorized'
      : fault === 'unreadable'
        ? 'server'
        : fault;
  const because = code ? ` (${code})` : '';
  const explanations: Record<typeof fault, string> = {
    aborted: 'the request was aborted',
    credentials: `the credentials could not be obtained${because}. Check the user in the Kubernetes configuration: its token, its certificate files (and the cluster's), or its exec plugin, which you can run by hand`,
    network:
      phase === 'answer'
        ? `the connection broke before the answer arrived${because}`
        : `no connection to the API server${at}${because}. Check the address of the cluster, its certificate authority, and network policies`,
    timeout: `no answer from the API server${at} within ${operation.timeout} ms: ${UNDER_WAY[phase]}`,
    unreadable: `the answer is not HTTP${because}`,
  };
  return new LeaseStoreError(
    reason,
    `${could(operation)}: ${explanations[fault]}.`,
    { ambiguous: isWrite(operation) && phase === 'answer' },
  );
}

/** The input is invalid, so no request is sent. */
export function failureOfInput(
  operation: Operation,
  fault: string,
): LeaseStoreError {
  return new LeaseStoreError('invalid', `${could(operation)}: ${fault}.`);
}

function reasonOf(status: number): LeaseStoreFailure {
  switch (status) {
    case 401:
      return 'unauthorized';
    case 403:
      return 'forbidden';
    case 404:
      return 'not-found';
    case 409:
      return 'conflict';
    case 429:
      return 'throttled';
    default:
      // A redirect comes from a proxy, not from the API server: it is no fault of the request.
      return status >= 400 && status < 500 && status !== 408
        ? 'invalid'
        : 'server';
  }
}

/**
 * A 5xx may come from a proxy that lost the API server's answer, or from an API server that lost
 * etcd's. A 408 comes from a proxy, and does not tell whether the request reached the API server.
 */
function mayHaveBeenApplied(status: number): boolean {
  return status >= 500 || status === 408;
}

function isWrite({ verb }: Operation): boolean {
  return (
    verb === 'create' ||
    verb === 'update' ||
    verb === 'patch' ||
    verb === 'delete'
  );
}

function adviceFor(
  operation: Operation,
  code: number,
  status: ApiStatus,
): string {
  const namespace = printable(operation.namespace);
  switch (code) {
    case 401:
      return 'The credentials are not accepted, or have expired: check the service account or the kubeconfig.';
    case 403:
      if (isNamespaceTerminating(status)) {
        return `The namespace ${namespace} is being deleted: nothing can be created in it.`;
      }
      if (status.isUnread) {
        return `The reason could not be read. If a right is missing: ${grant(operation)}.`;
      }
      return status.isMissingRight
        ? `${grant(operation)}.`
        : objectionOf(status, 'It gives no reason');
    case 404:
      if (isMissingLease(status)) {
        return 'The Lease does not exist.';
      }
      return operation.verb === 'create' && status.kind === 'namespaces'
        ? `The namespace ${namespace} does not exist: create it, or configure another one.`
        : 'There is no such API at this address: check the address of the cluster.';
    case 429:
      return 'It limits the rate of requests.';
    default:
      return reasonOf(code) === 'invalid'
        ? `It rejected the request; retrying won't help.${status.objection ? ` ${objectionOf(status)}` : ''}`
        : 'The API server, or a proxy in front of it, failed.';
  }
}

function conflictOf({ reason }: ApiStatus): string {
  return reason === ALREADY_EXISTS
    ? 'The Lease exists already.'
    : 'Another client changed the Lease first.';
}

/** Why the API server rejects a request whose rights are granted. */
function objectionOf({ objection }: ApiStatus, otherwise = ''): string {
  return objection === undefined
    ? `${otherwise}. A missing right would be named, so check the proxies between this process and the API server.`
    : `It says: ${objection}`;
}

function grant({ verb, namespace, name }: Operation): string {
  if (verb === 'review') {
    return 'The credentials may not ask for their own rights (create on selfsubjectaccessreviews.authorization.k8s.io)';
  }
  const which = name === undefined ? '' : ` (for ${printable(name)} at least)`;
  return `Grant these credentials the verb "${verb}" on leases.coordination.k8s.io in ${place(namespace)}${which}`;
}

/** A list of all namespaces has none. */
function place(namespace: string): string {
  return namespace === ''
    ? 'all namespaces (by a ClusterRole)'
    : `namespace ${printable(namespace)}`;
}

function could({ verb, namespace, name }: Operation): string {
  if (verb === 'review') {
    return "Can't check the rights on Leases";
  }
  const what =
    name === undefined
      ? `the Leases of ${place(namespace)}`
      : `Lease ${printable(namespace)}/${printable(name)}`;
  return `Can't ${verb} ${what}`;
}
