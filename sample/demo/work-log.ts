/** Who worked on what and when, and what follows from it: overlaps, and whether fencing tokens rose. */

/** One work, on the clock that all processes share. */
export interface Work {
  readonly replica: string;
  /** The replica's number of it. */
  readonly id: number;
  /** What was worked on, which is the name of the lock. */
  readonly subject: string;
  readonly token: bigint;
  /** The planned time, in milliseconds since the epoch, if the scheduler has called. */
  readonly fire: number | undefined;
  readonly begin: bigint;
  /** Undefined while it goes on. */
  end?: bigint;
  /** Whether it has succeeded. */
  isDone?: boolean;
}

export class WorkLog {
  private readonly works: Work[] = [];

  /** In the order in which they began. */
  get inOrder(): readonly Work[] {
    return this.works.toSorted((a, b) => (a.begin < b.begin ? -1 : 1));
  }

  begin(work: Work): void {
    this.works.push(work);
  }

  end(replica: string, id: number, end: bigint, isDone: boolean): Work {
    const work = this.works.find(
      (each) => each.replica === replica && each.id === id,
    )!;
    work.end = end;
    work.isDone = isDone;
    return work;
  }

  /** The replica has ended, and its work with it. */
  cutShort(replica: string, end: bigint): void {
    for (const work of this.works) {
      if (work.replica === replica && work.end === undefined) {
        work.end = end;
      }
    }
  }

  /** The replica that works on this. */
  workerOn(subject: string): string | undefined {
    return this.works.findLast(
      (work) => work.subject === subject && work.end === undefined,
    )?.replica;
  }

  /** The number of pairs of works that had a moment in common, and that `isCounted`. */
  countPairs(isCounted: (one: Work, other: Work) => boolean): number {
    const works = this.inOrder;
    return works.flatMap((work, index) =>
      works
        .slice(index + 1)
        .filter(
          (later) =>
            (work.end === undefined || later.begin < work.end) &&
            isCounted(work, later),
        ),
    ).length;
  }

  /** The number of works on one thing at the same time, which locks prevent. */
  countOverlaps(): number {
    return this.countPairs((one, other) => one.subject === other.subject);
  }

  /** The number of works whose fencing token was not greater than that of the work before it on the same thing. */
  countLowTokens(): number {
    const latest = new Map<string, bigint>();
    return this.inOrder.filter(({ subject, token }) => {
      const isLow = token <= (latest.get(subject) ?? -1n);
      latest.set(subject, token);
      return isLow;
    }).length;
  }
}
