/** Who did the work when, and what can be read from that: overlaps, takeover, tokens. */

/** One run of the work, on the clock that all processes share. */
export interface Run {
  readonly replica: string;
  /** The replica's own number of it. */
  readonly id: number;
  readonly token: bigint;
  readonly begin: bigint;
  /** Undefined while it goes on. */
  end?: bigint;
}

/** A replica that was killed. */
export interface Kill {
  readonly replica: string;
  /** When the signal was sent. */
  readonly at: bigint;
}

export class RunLog {
  private readonly runs: Run[] = [];
  private readonly skips = new Map<string, number>();

  get size(): number {
    return this.runs.length;
  }

  begin(run: Run): void {
    this.runs.push(run);
  }

  end(replica: string, id: number, end: bigint): Run | undefined {
    const run = this.underWay(replica).find((each) => each.id === id);
    if (run) {
      run.end = end;
    }
    return run;
  }

  /** The replica is gone, and with it what it had under way; returns how many runs that were. */
  gone(replica: string, end: bigint): number {
    const cutShort = this.underWay(replica);
    for (const run of cutShort) {
      run.end = end;
    }
    return cutShort.length;
  }

  skip(replica: string): void {
    this.skips.set(replica, this.countSkips(replica) + 1);
  }

  countRuns(replica: string): number {
    return this.runs.filter((run) => run.replica === replica).length;
  }

  countSkips(replica: string): number {
    return this.skips.get(replica) ?? 0;
  }

  /** All pairs of runs that had a moment in common. */
  findOverlaps(): [Run, Run][] {
    const runs = this.inOrder();
    return runs.flatMap((run, index) =>
      runs
        .slice(index + 1)
        .filter((later) => run.end === undefined || later.begin < run.end)
        .map((later): [Run, Run] => [run, later]),
    );
  }

  /** The first run of another replica after a kill. */
  findTakeover(kill: Kill): Run | undefined {
    return this.inOrder().find(
      (run) => run.replica !== kill.replica && run.begin > kill.at,
    );
  }

  /** Whether each run had a greater fencing token than all runs before it. */
  haveTokensRisen(): boolean {
    const runs = this.inOrder();
    return runs.every((run, i) => i === 0 || run.token > runs[i - 1]!.token);
  }

  private underWay(replica: string): Run[] {
    return this.runs.filter(
      (run) => run.replica === replica && run.end === undefined,
    );
  }

  private inOrder(): Run[] {
    return this.runs.toSorted((a, b) => (a.begin < b.begin ? -1 : 1));
  }
}
