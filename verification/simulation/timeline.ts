/** Prints the events of a run, one per line, with readable names instead of random identities. */
import type { Scheduler } from './scheduler.js';

const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
/** A client id and a nonce: this is random in each run, whatever the seed. */
const NONCE = new RegExp(`^(.*)_${UUID}$`);
const IDENTITY = new RegExp(`[\\w.]+_${UUID}`, 'g');

export class Timeline {
  readonly lines: string[] = [];
  private readonly names = new Map<string, string>();
  private readonly counts = new Map<string, number>();

  constructor(
    private readonly scheduler: Scheduler,
    /** Writing takes most of the time of a run, and is only worth it once a run is known to fail. */
    readonly isOn: boolean,
  ) {}

  /** `what` is only called when somebody is going to read it. */
  add(who: string, what: () => string): void {
    if (this.isOn) {
      const seconds = (this.scheduler.now / 1_000).toFixed(4).padStart(9);
      this.lines.push(`${seconds}  ${who.padEnd(10)} ${this.masked(what())}`);
    }
  }

  /** A text in which every identity has been replaced by its name. */
  masked(text: string): string {
    return text.replaceAll(IDENTITY, (id) => this.nameOf(id));
  }

  /** A name for an identity that stays the same from run to run: its readable part and a number. */
  nameOf(id: string): string {
    const [, kind] = NONCE.exec(id) ?? [];
    const known = this.names.get(id);
    if (kind === undefined || known !== undefined) {
      return known ?? id;
    }
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    const name = `${kind}#${count}`;
    this.names.set(id, name);
    return name;
  }
}
