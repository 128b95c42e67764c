/** A change of leaders while the next one contends: by a shutdown, as in a rolling update, and by a death; also of client-go. */
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeClient } from '../../test/kube-client.js';
import type { Belief } from '../../verification/beliefs/belief-log.js';
import { findOverlaps } from '../../verification/beliefs/overlaps.js';
import type { LeaseRecord } from '../../verification/faults/evidence.js';
import { isTicket } from '../../verification/faults/line.js';
import { Contender } from '../../verification/interop/contender.js';
import { percentile, type Row } from '../report.js';
import type { Bench, Setting } from '../setting.js';

const LEASE = 15_000;
/** How often client-go renews by default; this package does every third of the lease. */
const RETRY_PERIOD = 2_000;
const LONGEST_RENEWAL = LEASE / 3;
/** How many elections of a kind change their leaders at the same time. */
const ELECTIONS = 5;
/** Milliseconds after which a process of client-go contends, at any time between two of its looks. */
const START = 2 * RETRY_PERIOD;
/** Milliseconds between two looks at whether a process of this package contends. */
const LOOK = 100;
/** Milliseconds in which the next one must contend, and lead: several leases. */
const PATIENCE = 60_000;
const FOR_EVER = 3_600_000;

/** An election of this package, or of client-go. */
interface Kind {
  readonly election: string;
  start(name: string, lock: string): Contender;
  /** Resolves when another process contends with the leader. */
  contends(lock: string): Promise<unknown>;
}

/** How a leadership ends. @returns what was wrong with it */
type End = (leader: Contender) => Promise<string[]>;

interface Changes {
  readonly row: Row;
  readonly wrong: readonly string[];
}

const shutDown: End = (leader) => leader.finish();

/** At any time after a renewal. */
const die: End = async (leader) => {
  await sleep(Math.random() * LONGEST_RENEWAL);
  await leader.kill();
  return [];
};

export const leader: Bench = {
  about:
    'The leader shuts down or dies while the next one contends, with the election of this package and with that of client-go.',

  async run(setting) {
    const { quick } = setting.options;
    const kinds = kindsOf(setting);
    const shutdowns: Changes[] = [];
    for (const [index, kind] of kinds.entries()) {
      shutdowns.push(
        // oxlint-disable-next-line no-await-in-loop -- one after the other: each has the machine for itself
        await changeLeaders(kind, `closing-${index}`, shutDown, quick ? 1 : 8),
      );
    }
    // Nearly all of this time passes until leases expire.
    const deaths = await Promise.all(
      kinds.map((kind, index) =>
        changeLeaders(kind, `dying-${index}`, die, quick ? 1 : 4),
      ),
    );
    return {
      tables: [
        {
          title:
            'The leader shuts down: from the end of its leadership to the next one',
          rows: shutdowns.map(({ row }) => row),
        },
        {
          title: `The leader is killed: from its death to the next leadership, with a lease of ${LEASE / 1_000} s`,
          rows: deaths.map(({ row }) => row),
        },
      ],
      targets: [],
      faults: [...shutdowns, ...deaths].flatMap(({ wrong }) => wrong),
    };
  },
};

function kindsOf(setting: Setting): Kind[] {
  const { build, kubeConfigYaml, namespace, peers } = setting;
  const client = new KubeClient(kubeConfigYaml);
  const inGo = (retryPeriod: number): Omit<Kind, 'election'> => ({
    start: (name, lock) =>
      Contender.peer(peers, {
        name,
        lock,
        kubeConfigYaml,
        namespace,
        clientGo: {
          leaseDuration: LEASE,
          renewDeadline: 10_000,
          retryPeriod,
          releaseOnCancel: true,
        },
        hold: [FOR_EVER, FOR_EVER],
        rest: [0, 0],
      }),
    contends: () => sleep(START),
  });
  return [
    {
      election: 'nestjs-k8s-lock',
      start: (name, lock) =>
        Contender.leader(build, {
          name,
          lock,
          kubeConfigYaml,
          namespace,
          leaseDuration: LEASE,
          safetyMargin: LEASE / 10,
        }),
      contends: async (lock) => {
        const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${lock}`;
        const isInLine = async (): Promise<boolean> => {
          const { body } = await client.request<LeaseRecord>('GET', path);
          return Object.keys(body.metadata.annotations ?? {}).some(isTicket);
        };
        // oxlint-disable no-await-in-loop -- one look after the other
        for (let left = PATIENCE; left > 0; left -= LOOK) {
          if (await isInLine()) {
            return;
          }
          await sleep(LOOK);
        }
        // oxlint-enable no-await-in-loop
        throw new Error(`nobody contends for ${lock} after ${PATIENCE} ms`);
      },
    },
    {
      election: 'client-go, 2 s retry (its default)',
      ...inGo(RETRY_PERIOD),
    },
    { election: 'client-go, 100 ms retry', ...inGo(100) },
  ];
}

/** Several elections change their leaders, again and again. */
async function changeLeaders(
  kind: Kind,
  lock: string,
  end: End,
  rounds: number,
): Promise<Changes> {
  const elections = Array.from(
    { length: ELECTIONS },
    (_, index) => new Election(kind, `${lock}-${index}`, end),
  );
  try {
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      // oxlint-disable no-await-in-loop -- one round after the other
      await Promise.all(elections.map((each) => each.prepare()));
      if (end === shutDown) {
        for (const election of elections) {
          times.push(await election.change());
        }
      } else {
        const ofRound = elections.map((each) => each.change());
        times.push(...(await Promise.all(ofRound)));
      }
      // oxlint-enable no-await-in-loop
    }
    return {
      row: {
        election: kind.election,
        changes: times.length,
        'p50 ms': percentile(times, 0.5),
        'p99 ms': percentile(times, 0.99),
      },
      wrong: elections.flatMap((each) => each.wrong()),
    };
  } finally {
    await Promise.all(elections.map((each) => each[Symbol.asyncDispose]()));
  }
}

/** One election: a process leads, and another one contends. */
class Election implements AsyncDisposable {
  private readonly all: Contender[] = [];
  private readonly complaints: string[] = [];

  constructor(
    private readonly kind: Kind,
    private readonly lock: string,
    private readonly end: End,
  ) {}

  /** Has one more contend. It starts when somebody leads: else it might lead first. */
  async prepare(): Promise<void> {
    const leads = this.all.at(-1) ?? this.start();
    await leading(leads);
    this.start();
    await this.kind.contends(this.lock);
  }

  /** @returns milliseconds from one leadership to the next */
  async change(): Promise<number> {
    const [last, next] = this.all.slice(-2);
    const ended = this.end(last!);
    const { from } = await leading(next!);
    this.complaints.push(...(await ended));
    return from - last!.beliefs()[0]!.to;
  }

  wrong(): string[] {
    const overlaps = findOverlaps(this.all.flatMap((each) => each.beliefs()));
    return [
      ...this.complaints,
      ...overlaps.map(
        ({ earlier, later }) =>
          `${earlier.process} and ${later.process} led ${this.lock}`,
      ),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((each) => each.kill()));
  }

  private start(): Contender {
    const name = `process-${this.all.length}`;
    const started = this.kind.start(name, this.lock);
    this.all.push(started);
    return started;
  }
}

/** Waits until it leads. @throws Error if it does not in time */
async function leading(contender: Contender): Promise<Belief> {
  const given = new AbortController();
  const late = sleep(PATIENCE, undefined, { signal: given.signal }).then(() => {
    throw new Error(`${contender.name} does not lead after ${PATIENCE} ms`);
  });
  try {
    return await Promise.race([contender.acquired(), late]);
  } finally {
    given.abort();
    await late.catch(() => undefined);
  }
}
