/** Virtual time: it moves from one event to the next, once everything the last one set off has settled. */

export interface ScheduledEvent {
  readonly at: number;
  cancelled: boolean;
}

interface Entry extends ScheduledEvent {
  /** Events of the same moment happen in the order in which they were scheduled. */
  readonly order: number;
  readonly run: () => void;
}

export class Scheduler {
  /** Milliseconds of true time since the simulation began. */
  now = 0;
  steps = 0;
  /** Of when everything happened: two runs that differ anywhere differ in it. */
  digest = 0;
  /** A binary heap. */
  private readonly heap: Entry[] = [];
  private scheduled = 0;

  at(time: number, run: () => void): ScheduledEvent {
    const entry: Entry = {
      at: Math.max(time, this.now),
      cancelled: false,
      order: (this.scheduled += 1),
      run,
    };
    this.push(entry);
    return entry;
  }

  /**
   * Runs until `isDone` says so, nothing is left to happen, or an event would lie beyond `limit`.
   * `check` is called between events, at the moment of each one before it happens and after it.
   *
   * @returns whether `isDone` said so
   */
  run(
    limit: number,
    isDone: () => boolean,
    check: () => void,
  ): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        try {
          check();
          if (isDone()) {
            resolve(true);
            return;
          }
          const entry = this.pop(limit);
          if (entry === undefined) {
            resolve(false);
            return;
          }
          this.now = entry.at;
          this.steps += 1;
          this.digest = (Math.imul(this.digest, 31) + entry.at * 1_024) | 0;
          check();
          entry.run();
          // The event loop comes back to this only when no promise has anything left to do, and
          // has by then reported those that were rejected with nobody to notice.
          setImmediate(step);
        } catch (error) {
          reject(error);
        }
      };
      setImmediate(step);
    });
  }

  private push(entry: Entry): void {
    const { heap } = this;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (isBefore(heap[parent]!, entry)) {
        break;
      }
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = entry;
  }

  private pop(limit: number): Entry | undefined {
    const { heap } = this;
    for (;;) {
      const first = heap[0];
      if (first === undefined || (!first.cancelled && first.at > limit)) {
        return undefined;
      }
      const last = heap.pop()!;
      if (heap.length > 0) {
        this.sink(last);
      }
      if (!first.cancelled) {
        return first;
      }
    }
  }

  private sink(entry: Entry): void {
    const { heap } = this;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) {
        break;
      }
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) {
        child += 1;
      }
      if (isBefore(entry, heap[child]!)) {
        break;
      }
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = entry;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
