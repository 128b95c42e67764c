/** Turns each way in which a request can fail into a LeaseStoreError: every reason and message in one place. */
import {
  isMissingLease,
  isNamespaceTerminating,
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

/** What was asked of the API server, as far as messages and `ambiguous` depend on it. */
export interface Operation {
  readonly verb: LeaseVerb | 'review';
  readonly namespace: string;
  readonly name?: string;
  readonly timeout: number;
}

const UNDER_WAY: Record<Phase, string> = {
  credentials:
    'the credentials were still being obtained; check the exec plugin or auth provider of the Kubernetes configuration',
  connection:
    'there was no connection yet; check that the API server can be reached from here, and how many requests are under way at once',
  answer: 'the request was sent, and no answer came',
};

/** The API server answered, and not with success. */
export function failureOfAnswer(
  operation: Operation,
  answer: Answer,
  status: ApiStatus = statusOf(answer.body),
): LeaseStoreError {
  const said = `${answer.status}${status.reason ? ` ${status.reason}` : ''}`;
  return new LeaseStoreError(
    reasonOf(answer.status),
    `${could(operation)}: the API server answered ${said}. ${adviceFor(operation, answer.status, status)}`,
    {
      status: answer.status,
      retryAfter: retryAfterOf(answer.headers, status),
      ambiguous: isWrite(operation) && mayHaveBeenApplied(answer.status),
    },
  );
}

/** The API server answered with success, and with something that can't be read. */
export function failureOfContent(
  operation: Operation,
  answer: Answer,
  fault: UnreadableAnswer,
): LeaseStoreError {
  return new LeaseStoreError(
    'server',
    `${could(operation)}: the answer (${answer.status}) can't be read, since ${fault.message}. Check what stands between this process and the API server.`,
    { status: answer.status, ambiguous: isWrite(operation) },
  );
}

/** A watch ends as soon as it begins, and not for the first time. */
export function failureOfWatch(operation: Operation): LeaseStoreError {
  return new LeaseStoreError(
    'server',
    `${could(operation)}: each watch breaks off, ends at once or starts from a version that is gone. Check what stands between this process and the API server.`,
  );
}

/** The pages of a list do not end. */
export function failureOfList(
  operation: Operation,
  { status }: Answer,
): LeaseStoreError {
  return new LeaseStoreError(
    'server',
    `${could(operation)}: page after page came (the last with ${status}), and nothing new on them. Check what stands between this process and the API server.`,
    { status },
  );
}

/** No answer came. */
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
    aborted: 'it was given up',
    credentials: `the credentials could not be obtained${because}. Check the user in the Kubernetes configuration: its token, its certificate files (and the cluster's), or its exec plugin, which you can run by hand`,
    network:
      phase === 'answer'
        ? `the connection broke before the answer came${because}`
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

/** The request can't be sent at all: what was asked for makes no sense. */
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
      // A redirect is no client's fault: something between here and the API server answered.
      return status >= 400 && status < 500 && status !== 408
        ? 'invalid'
        : 'server';
  }
}

/**
 * A 5xx may come from a proxy that lost the answer, or from an API server that lost etcd's. A 408
 * comes from a proxy, and says nothing about how far the request went.
 */
function mayHaveBeenApplied(status: number): boolean {
  return status >= 500 || status === 408;
}

function isWrite({ verb }: Operation): boolean {
  return verb === 'create' || verb === 'update' || verb === 'delete';
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
        return `Its reason was not read. If a right is missing: ${grant(operation)}.`;
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
    case 409:
      return status.reason === 'AlreadyExists'
        ? 'The Lease exists already.'
        : 'Somebody else changed the Lease first.';
    case 429:
      return 'It limits the rate of requests.';
    default:
      return reasonOf(code) === 'invalid'
        ? `It does not accept this request, and will not when it is sent again.${status.objection ? ` ${objectionOf(status)}` : ''}`
        : 'It, or what stands before it, has a fault of its own.';
  }
}

/** What keeps a request out that has all rights. */
function objectionOf({ objection }: ApiStatus, otherwise = ''): string {
  return objection === undefined
    ? `${otherwise}: a missing right would be named, so look at what stands between this process and the API server.`
    : `It says: ${objection}`;
}

function grant({ verb, namespace, name }: Operation): string {
  if (verb === 'review') {
    return 'The credentials may not ask for their own rights (create on selfsubjectaccessreviews.authorization.k8s.io)';
  }
  const which = name === undefined ? '' : ` (for ${printable(name)} at least)`;
  return `Grant these credentials the verb "${verb}" on leases.coordination.k8s.io in namespace ${printable(namespace)}${which}`;
}

function could({ verb, namespace, name }: Operation): string {
  if (verb === 'review') {
    return "Can't ask for the rights on Leases";
  }
  const what =
    name === undefined
      ? `the Leases of namespace ${printable(namespace)}`
      : `Lease ${printable(namespace)}/${printable(name)}`;
  return `Can't ${verb} ${what}`;
}

/** Characters of the name of an object in Kubernetes. */
const LONGEST_NAME = 253;

/** A name that may be anything, fit for one line of a log. */
function printable(name: string): string {
  const text = name
    .slice(0, LONGEST_NAME)
    .replace(
      /[^\x20-\x7e]/gu,
      (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
    );
  const isCut = name.length > LONGEST_NAME || text.length > LONGEST_NAME;
  return isCut ? `${text.slice(0, LONGEST_NAME)}…` : text;
}
