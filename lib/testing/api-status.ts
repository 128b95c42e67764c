/** Builds the `Status` objects with which the API server reports failures, and the error that carries one. */

/** Group and plural name, as the API server quotes them in its messages. */
const LEASES = {
  group: 'coordination.k8s.io',
  kind: 'leases',
  qualified: 'leases.coordination.k8s.io',
} as const;

/** One faulty field of a rejected object. */
export interface StatusCause {
  /** For instance `FieldValueInvalid`. */
  reason?: string;
  message?: string;
  /** Path of the field, for instance `spec.leaseDurationSeconds`. */
  field?: string;
}

/** The `v1` `Status` that the API server answers instead of the requested object. */
export interface Status {
  kind: 'Status';
  apiVersion: 'v1';
  metadata: Record<string, never>;
  status: 'Success' | 'Failure';
  message?: string;
  /** Machine-readable, for instance `Conflict`, `AlreadyExists`, `NotFound`. */
  reason?: string;
  details?: {
    name?: string;
    group?: string;
    kind?: string;
    uid?: string;
    causes?: StatusCause[];
    /** Seconds. */
    retryAfterSeconds?: number;
  };
  /** The HTTP status. */
  code?: number;
}

/** A request that ends in a failure `Status`. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly code: number,
    readonly reason: string | undefined,
    message: string,
    readonly details?: Status['details'],
  ) {
    super(message);
  }

  get status(): Status {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      ...(this.reason !== undefined && { reason: this.reason }),
      ...(this.details && { details: this.details }),
      code: this.code,
    };
  }
}

const leaseDetails = (name: string) => ({
  ...(name !== '' && { name }),
  group: LEASES.group,
  kind: LEASES.kind,
});

export const badRequest = (message: string) =>
  new ApiError(400, 'BadRequest', message);

export const unauthorized = () =>
  new ApiError(401, 'Unauthorized', 'Unauthorized');

/** Neither the path nor its resource exists. */
export const noSuchResource = () =>
  new ApiError(
    404,
    'NotFound',
    'the server could not find the requested resource',
    {},
  );

export const methodNotAllowed = () =>
  new ApiError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
    {},
  );

export const leaseNotFound = (name: string) =>
  new ApiError(
    404,
    'NotFound',
    `${LEASES.qualified} "${name}" not found`,
    leaseDetails(name),
  );

export const namespaceNotFound = (name: string) =>
  new ApiError(404, 'NotFound', `namespaces "${name}" not found`, {
    name,
    kind: 'namespaces',
  });

export const namespaceTerminating = (namespace: string, name: string) =>
  new ApiError(
    403,
    'Forbidden',
    `${LEASES.qualified} "${name}" is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`,
    {
      ...leaseDetails(name),
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    },
  );

export const alreadyExists = (name: string) =>
  new ApiError(
    409,
    'AlreadyExists',
    `${LEASES.qualified} "${name}" already exists`,
    leaseDetails(name),
  );

export const conflict = (name: string, why: string) =>
  new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${LEASES.qualified} "${name}": ${why}`,
    leaseDetails(name),
  );

/** The compare-and-swap failed: another client wrote first. */
export const modified = (name: string) =>
  conflict(
    name,
    'the object has been modified; please apply your changes to the latest version and try again',
  );

/** The precondition of a deletion names another uid or resourceVersion than the stored one. */
export const preconditionFailed = (
  name: string,
  what: 'UID' | 'ResourceVersion',
  asked: string,
  stored: string,
) =>
  new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on Lease.coordination.k8s.io "${name}": the ${what} in the precondition (${asked}) does not match the ${what} in record (${stored}). The object might have been ${what === 'UID' ? 'deleted and then recreated' : 'modified'}`,
    { name, group: LEASES.group, kind: 'Lease' },
  );

/** The requested resourceVersion is no longer in the history. */
export const expired = (asked: bigint, oldest: bigint) =>
  new ApiError(
    410,
    'Expired',
    `too old resource version: ${asked} (${oldest})`,
  );

export const entityTooLarge = (limit: number) =>
  new ApiError(
    413,
    'RequestEntityTooLarge',
    `Request entity too large: limit is ${limit}`,
  );

export const unsupportedPatchType = () =>
  new ApiError(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {});

/** An operation of a JSON patch does not apply. */
export const patchFailed = () =>
  new ApiError(
    422,
    'Invalid',
    'the server rejected our request due to an error in our request',
    {},
  );

export const notAcceptable = (available: readonly string[]) =>
  new ApiError(
    406,
    'NotAcceptable',
    `406: Not Acceptable\n\nAvailable representations: ${available.join(', ')}`,
    {},
  );

/** The requested resourceVersion does not exist yet. */
export const tooLargeVersion = (asked: bigint, current: bigint) =>
  new ApiError(
    504,
    'Timeout',
    `Timeout: Too large resource version: ${asked}, current: ${current}`,
    {
      causes: [
        {
          reason: 'ResourceVersionTooLarge',
          message: 'Too large resource version',
        },
      ],
      retryAfterSeconds: 1,
    },
  );

export const unsupportedMediaType = (accepted: readonly string[]) =>
  new ApiError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  );

/** 422: the object breaks rules; there is one cause for each faulty field. */
export function invalid(
  kind: string,
  name: string,
  causes: readonly StatusCause[],
  group: string = LEASES.group,
): ApiError {
  const faults = causes.map(({ field, message }) => `${field}: ${message}`);
  const qualified = group === '' ? kind : `${kind}.${group}`;
  return new ApiError(
    422,
    'Invalid',
    `${qualified} "${name}" is invalid: ${faults.length === 1 ? faults[0] : `[${faults.join(', ')}]`}`,
    {
      ...(name !== '' && { name }),
      ...(group !== '' && { group }),
      ...(kind !== '' && { kind }),
      causes: [...causes],
    },
  );
}

/** The answer to a successful DELETE. */
export const deletedStatus = (name: string, uid: string): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  details: { name, group: LEASES.group, kind: LEASES.kind, uid },
});
