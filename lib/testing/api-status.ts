/** Builds the `Status` objects with which the API server reports failures, and the error that carries one. */

const GROUP = 'coordination.k8s.io';
const LEASES = `leases.${GROUP}`;

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
  group: GROUP,
  kind: 'leases',
});

const aboutLease = (code: number, reason: string, name: string, why: string) =>
  new ApiError(code, reason, why, leaseDetails(name));

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
  aboutLease(404, 'NotFound', name, `${LEASES} "${name}" not found`);

export const namespaceNotFound = (name: string) =>
  new ApiError(404, 'NotFound', `namespaces "${name}" not found`, {
    name,
    kind: 'namespaces',
  });

export const namespaceTerminating = (namespace: string, name: string) =>
  new ApiError(
    403,
    'Forbidden',
    `${LEASES} "${name}" is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`,
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
  aboutLease(409, 'AlreadyExists', name, `${LEASES} "${name}" already exists`);

export const conflict = (name: string, why: string) =>
  aboutLease(
    409,
    'Conflict',
    name,
    `Operation cannot be fulfilled on ${LEASES} "${name}": ${why}`,
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

/** 422: the object breaks rules; there is one cause for each faulty field. */
export function invalid(
  kind: string,
  name: string,
  causes: readonly StatusCause[],
): ApiError {
  const faults = causes.map(({ field, message }) => `${field}: ${message}`);
  return new ApiError(
    422,
    'Invalid',
    `${kind}.${GROUP} "${name}" is invalid: ${faults.join(', ')}`,
    { name, group: GROUP, kind, causes: [...causes] },
  );
}

/** The answer to a successful DELETE. */
export const deletedStatus = (name: string, uid: string): Status => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  details: { name, group: GROUP, kind: 'leases', uid },
});
