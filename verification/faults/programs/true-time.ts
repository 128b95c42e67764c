/** Tells the true time in a process whose clocks libfaketime has falsified. */
import { monotonic } from '../../processes/programs/calls.js';

/** Milliseconds by which a reading of the falsified clock may be off at most, either way. */
const GREATEST_ERROR = 0.4;
const MOST_TRIES = 500;

/** Asks a process whose clocks are true for the time. */
export type AskTime = () => Promise<number>;

interface Exchange {
  /** On the falsified clock. */
  readonly sentAt: number;
  readonly receivedAt: number;
  /** Somewhere between the two. */
  readonly trueAt: number;
}

/**
 * Converts by the known rate, from a moment at which both clocks were read. That a message takes time
 * leaves an error, which is known, too: {@link earliest} and {@link latest} allow for it, so that
 * what is written down can only be too strict.
 */
export class TrueTime {
  private constructor(
    private readonly rate: number,
    private readonly offset: number,
    private readonly error: number,
  ) {}

  /** @param rate how fast the clocks of this process go; 1 = they are true */
  static async find(rate: number, ask: AskTime): Promise<TrueTime> {
    if (rate === 1) {
      return new TrueTime(1, 0, 0);
    }
    let best = { offset: 0, error: Infinity };
    for (let tries = 0; best.error > GREATEST_ERROR; tries += 1) {
      if (tries === MOST_TRIES) {
        throw new Error(`true time is known to ${best.error} ms only`);
      }
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      const { sentAt, receivedAt, trueAt } = await exchange(ask);
      const error = (receivedAt - sentAt) / 2 / rate;
      if (error < best.error) {
        best = { offset: trueAt - (sentAt + receivedAt) / 2 / rate, error };
      }
    }
    return new TrueTime(rate, best.offset, best.error);
  }

  /** It is not earlier than this. */
  earliest(): number {
    return this.convert(monotonic()) - this.error;
  }

  /** It is not later than this. */
  latest(): number {
    return this.convert(monotonic()) + this.error;
  }

  /** Milliseconds by which this is certainly wrong by now, beyond its error. */
  async residual(ask: AskTime): Promise<number> {
    const { sentAt, receivedAt, trueAt } = await exchange(ask);
    return Math.max(
      0,
      this.convert(sentAt) - this.error - trueAt,
      trueAt - this.convert(receivedAt) - this.error,
    );
  }

  private convert(at: number): number {
    return at / this.rate + this.offset;
  }
}

async function exchange(ask: AskTime): Promise<Exchange> {
  const sentAt = monotonic();
  const trueAt = await ask();
  return { sentAt, trueAt, receivedAt: monotonic() };
}
