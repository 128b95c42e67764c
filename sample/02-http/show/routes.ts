/** The routes of the application: how to call them, what they promise, and which lock they are under. */

export interface Route {
  readonly method: 'POST' | 'DELETE';
  readonly path: string;
  /** What becomes of a request that finds the lock taken. */
  readonly policy: string;
  /** The statuses that it may answer, when nothing goes wrong: the first is that of a request that was served. */
  readonly statuses: readonly number[];
  /** The lock, and the account that is written to; `id` as in the path. */
  readonly lock: (id: string) => string;
}

const ofOrder = (id: string): string => `order-${id}`;

export const ROUTES = {
  settle: {
    method: 'POST',
    path: '/orders/:id/settlement',
    policy: "'wait'",
    statuses: [201, 423],
    lock: ofOrder,
  },
  cancel: {
    method: 'DELETE',
    path: '/orders/:id',
    policy: "'throw'",
    statuses: [200, 423],
    lock: ofOrder,
  },
  remind: {
    method: 'POST',
    path: '/reminders',
    policy: "'skip'",
    statuses: [201, 204],
    lock: () => 'reminders',
  },
  reserve: {
    method: 'POST',
    path: '/stock/:id/reservations',
    policy: "'wait', by the interceptor",
    statuses: [201, 423],
    lock: (id: string) => `stock-${id}`,
  },
} satisfies Record<string, Route>;

export type RouteName = keyof typeof ROUTES;
