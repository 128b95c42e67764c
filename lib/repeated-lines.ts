/** Limits repeated log lines: each is written at once, and then once a minute with its count. */

/** A line is written at most once in this time, in milliseconds. */
const INTERVAL = 60_000;

interface Line {
  /** How often the line was suppressed. */
  count: number;
  write: (count: string) => void;
  readonly timer: NodeJS.Timeout;
}

export class RepeatedLines {
  private readonly lines = new Map<string, Line>();

  /** @param write called with the suffix of the line */
  note(id: string, write: (count: string) => void): void {
    const line = this.lines.get(id);
    if (line !== undefined) {
      line.count += 1;
      line.write = write;
      return;
    }
    const timer = setInterval(() => this.tell(id), INTERVAL).unref();
    this.lines.set(id, { count: 0, write, timer });
    write('');
  }

  /** Writes the counts of suppressed lines. */
  end(): void {
    for (const id of this.lines.keys()) {
      this.tell(id);
    }
    for (const { timer } of this.lines.values()) {
      clearInterval(timer);
    }
    this.lines.clear();
  }

  private tell(id: string): void {
    const line = this.lines.get(id)!;
    if (line.count === 0) {
      clearInterval(line.timer);
      this.lines.delete(id);
      return;
    }
    const times = line.count === 1 ? 'once more' : `${line.count} more times`;
    line.write(` (${times})`);
    line.count = 0;
  }
}
