/** Counts the events of a run, since a simulation in which nothing happens proves nothing. */

export const COUNTED = [
  'acquisitions',
  'renewals',
  'releases',
  'deletions',
  'grants',
  'grants of which one is told',
  'handovers',
  'places in line after a wait outside',
  'takeovers',
  'takeovers from sessions',
  'sessions ended',
  'sessions that another taker had ended',
  'sessions deleted by hand',
  'robberies',
  'losses',
  'locks borrowed',
  'shutdowns',
  'refusals',
  'pauses',
  'crashes',
  'restarts',
  'late requests',
  'patches refused',
  'peer acquisitions',
  'locks under sessions that client-go met',
  'locks under sessions that k8slock met',
  'stale writes refused',
  'fires run',
  'fires run again',
  'fires made up for',
  'fires skipped',
  'claims lost',
  'restores',
  'permits beside others',
  'leaderships',
  'leaderships given up',
  'successions',
] as const;

export type Counted = (typeof COUNTED)[number];

export type Counts = Partial<Record<Counted, number>>;

export class Statistics {
  /** Can be sent from a worker. */
  readonly counts: Counts = {};

  count(what: Counted, times = 1): void {
    this.counts[what] = this.get(what) + times;
  }

  get(what: Counted): number {
    return this.counts[what] ?? 0;
  }

  add(others: Counts): void {
    for (const what of COUNTED) {
      this.count(what, others[what] ?? 0);
    }
  }
}
