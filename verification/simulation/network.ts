/** What becomes of a request on its way to the API server and back. */
import type { Random } from './random.js';

/** How a connection between one client, or all, and the API server is disturbed for a while. */
export interface Outage {
  readonly from: number;
  readonly until: number;
  /** Name of the client; undefined = all. */
  readonly client: string | undefined;
  readonly kind:
    /** Nobody listens. */
    | 'refused'
    /** Connections are never set up. */
    | 'hanging'
    /** What is sent vanishes. */
    | 'lost'
    /** Requests arrive, answers don't. */
    | 'one-way'
    /** Requests arrive, answers take long. */
    | 'congested'
    /** 429 with Retry-After. */
    | 'throttled'
    /** 500, of requests that were applied and of others. */
    | 'failing';
}

/** How likely a single request meets what. */
export interface NetworkFaults {
  readonly slow: number;
  readonly lost: number;
  readonly unanswered: number;
  readonly late: number;
  readonly throttled: number;
  readonly failing: number;
  readonly refused: number;
  readonly outages: readonly Outage[];
}

export const NO_FAULTS: NetworkFaults = {
  slow: 0,
  lost: 0,
  unanswered: 0,
  late: 0,
  throttled: 0,
  failing: 0,
  refused: 0,
  outages: [],
};

export interface Fate {
  /** Milliseconds until it reaches the API server; undefined = never. */
  readonly arrivesAfter?: number;
  /** Milliseconds from then until the answer is there; undefined = never. */
  readonly answeredAfter?: number;
  /** What is answered in place of the API server's own answer, and whether that one was asked at all. */
  readonly instead?: {
    readonly status: number;
    readonly retryAfter?: number;
    readonly isApplied: boolean;
  };
  /** The connection fails: never set up, or broken with the request on its way. */
  readonly breaks?: { readonly after: number; readonly isSent: boolean };
  /** No connection is ever set up: nothing is sent. */
  readonly isUnconnected?: boolean;
}

/** Milliseconds that a request or answer takes at most: usually, in a slow network, in a congested one. */
const USUAL = 20;
const SLOW = 3_000;
const CONGESTED = 1_000;
/** Milliseconds for which the API server may sit on a request that its client has given up. */
const LATEST = 34_000;

export class Network {
  /** Requests that may still be applied. */
  underWay = 0;
  private faults: NetworkFaults;

  constructor(
    private readonly random: Random,
    faults: NetworkFaults,
  ) {
    this.faults = faults;
  }

  heal(): void {
    this.faults = NO_FAULTS;
  }

  /** Whether something breaks this client's connections just now. */
  isDisturbed(client: string, now: number): boolean {
    const outage = this.outageOf(client, now);
    return outage !== undefined && outage.kind !== 'congested';
  }

  get greatestLatency(): number {
    const { slow, outages } = this.faults;
    return slow > 0 ? SLOW : outages.length > 0 ? CONGESTED : USUAL;
  }

  latency(): number {
    const { random, faults } = this;
    return random.chance(faults.slow)
      ? random.magnitude(USUAL, SLOW)
      : random.magnitude(0.3, USUAL);
  }

  fateOf(client: string, now: number, timeout: number): Fate {
    const outage = this.outageOf(client, now);
    return outage === undefined
      ? this.ownFate(timeout)
      : this.fateIn(outage.kind);
  }

  private fateIn(kind: Outage['kind']): Fate {
    switch (kind) {
      case 'refused':
        return { breaks: { after: this.latency(), isSent: false } };
      case 'hanging':
        return { isUnconnected: true };
      case 'lost':
        return {};
      case 'one-way':
        return { arrivesAfter: this.latency() };
      case 'congested':
        return {
          arrivesAfter: this.latency(),
          answeredAfter: this.random.magnitude(USUAL, CONGESTED),
        };
      case 'throttled':
        return this.throttled();
      case 'failing':
        return this.failing();
      default:
        return kind satisfies never;
    }
  }

  /** Of a request that is sent while nothing is wrong with the connection as a whole. */
  private ownFate(timeout: number): Fate {
    const { random, faults } = this;
    let dice = random.next();
    const meets = (probability: number): boolean => {
      dice -= probability;
      return dice < 0;
    };
    if (meets(faults.lost)) {
      return {};
    }
    if (meets(faults.refused)) {
      return { breaks: { after: this.latency(), isSent: false } };
    }
    if (meets(faults.unanswered)) {
      const arrivesAfter = this.latency();
      return random.chance(0.5)
        ? { arrivesAfter }
        : {
            arrivesAfter,
            breaks: {
              after: arrivesAfter * random.between(0, 3),
              isSent: true,
            },
          };
    }
    if (meets(faults.late)) {
      const arrivesAfter = timeout + random.magnitude(1, LATEST);
      return random.chance(0.5)
        ? { arrivesAfter }
        : {
            arrivesAfter,
            breaks: { after: random.between(0, timeout), isSent: true },
          };
    }
    if (meets(faults.throttled)) {
      return this.throttled();
    }
    if (meets(faults.failing)) {
      return this.failing();
    }
    return { arrivesAfter: this.latency(), answeredAfter: this.latency() };
  }

  private throttled(): Fate {
    return {
      arrivesAfter: this.latency(),
      answeredAfter: this.latency(),
      instead: {
        status: 429,
        retryAfter: this.random.whole(0, 3),
        isApplied: false,
      },
    };
  }

  private failing(): Fate {
    return {
      arrivesAfter: this.latency(),
      answeredAfter: this.latency(),
      instead: {
        status: this.random.pick([500, 503, 504]),
        isApplied: this.random.chance(0.5),
      },
    };
  }

  private outageOf(client: string, now: number): Outage | undefined {
    return this.faults.outages.find(
      (outage) =>
        now >= outage.from &&
        now < outage.until &&
        (outage.client === undefined || outage.client === client),
    );
  }
}
