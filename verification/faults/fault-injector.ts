/** Injects faults, one after the other in each lane, and ends each when its time is over. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeApiserver } from '../kube-apiserver/kube-apiserver.js';
import { monotonic } from '../processes/programs/calls.js';
import type { InjectedFault, LeaseWrite } from './evidence.js';
import type { FaultName, PlannedFault } from './fault-plan.js';
import type { Disturbance, FaultProxy } from './fault-proxy.js';
import type { Kubectl } from './kubectl.js';
import { enrolledBy, grantedBy, isApplied } from './lease-write.js';
import type { WorkerProcess } from './worker-process.js';
import type { Workforce } from './workforce.js';

/** How often a fault strikes a holder rather than anybody. */
const AIM = 0.8;
/** Milliseconds for an edit by hand: longer than the API server is ever away. */
const LONGEST_TRY = 30_000;
/** Milliseconds until a write of a certain kind: longer than other faults keep everybody from it. */
const LONGEST_WAIT = 120_000;
/** How often a storm comes over everybody. */
const WIDE = 0.3;
/** Milliseconds: longer than senders wait for an answer. */
const LATE = [1_200, 5_000] as const;

/** Does what the fault is, for as long as it lasts. @returns what it was done to */
type Strike = (fault: PlannedFault) => Promise<string>;

export class FaultInjector {
  readonly injected: InjectedFault[] = [];
  private readonly strikes: Record<FaultName, Strike> = {
    'SIGSTOP for longer than the lease': (fault) => this.stopAny(fault),
    'SIGSTOP for less than the lease': (fault) => this.stopAny(fault),
    'kill -9 and restart': async (fault) => {
      const worker = this.drawWorker(fault.random);
      await this.replace(worker, fault);
      return worker.name;
    },
    'kill -9 of a process that has just enrolled': (fault) =>
      this.atWrite(enrolledBy, (worker) => this.replace(worker, fault)),
    'kill -9 of a process that has just granted': (fault) =>
      this.atWrite(
        (write) => grantedBy(write) && write.author,
        (worker) => this.replace(worker, fault),
      ),
    'kill -9 of a process that was just granted a lock': (fault) =>
      this.atWrite(grantedBy, (worker) => this.replace(worker, fault)),
    'SIGSTOP of a process that was just granted a lock': (fault) =>
      this.atWrite(grantedBy, (worker) => this.stop(worker, fault)),
    'event loop blocked for longer than the lease': async (fault) => {
      const worker = this.drawWorker(fault.random);
      worker.block(fault.duration);
      await sleep(fault.duration);
      return worker.name;
    },
    'requests held back (one-way)': (fault) =>
      this.onLink(fault, ({ requests }) => requests.hold()),
    'answers held back (one-way)': (fault) =>
      this.onLink(fault, ({ answers }) => answers.hold()),
    'black hole': (fault) =>
      this.onLink(fault, ({ requests, answers }) => {
        requests.hold();
        answers.hold();
      }),
    'slow network': (fault) =>
      this.onLink(fault, (link) => {
        link.requests.delay = fault.random.between(20, 400);
        link.answers.delay = fault.random.between(20, 400);
      }),
    'connections reset': async ({ duration, random }) => {
      const worker = this.drawWorker(random);
      for (const end = monotonic() + duration; monotonic() < end;) {
        worker.endpoint.link.resetAll();
        // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
        await sleep(random.between(50, 800));
      }
      return worker.name;
    },
    'connections refused': (fault) =>
      this.onLink(fault, (link) => {
        link.refuses = true;
        link.resetAll();
      }),
    '409 storm': (fault) => this.refuse(fault, 409),
    '429 storm': (fault) => this.refuse(fault, 429),
    '500 storm': (fault) => this.refuse(fault, 500, 503),
    '403 storm': (fault) => this.refuse(fault, 403),
    '409 although it was done': (fault) =>
      this.disturb(fault, { refusals: { statuses: [409], after: true } }),
    '500 although it was done': (fault) =>
      this.disturb(fault, { refusals: { statuses: [500, 503], after: true } }),
    'reset in the middle of an answer': (fault) =>
      this.disturb(fault, { cutsAnswers: true }),
    'watches cut every second': (fault) =>
      this.disturb(fault, { cutsWatches: true }),
    'writes sent on seconds late': async (fault) => {
      const target = await this.onWrites(
        fault,
        { delaysWrites: LATE },
        'sent late',
      );
      await sleep(LATE[1]);
      return target;
    },
    'answers to PATCH lost': (fault) =>
      this.onWrites(fault, { losesPatches: true }, 'answer lost'),
    'Lease deleted': (fault) =>
      this.byHand(fault, (lease) => this.kubectl.delete(lease)),
    'holder overwritten': (fault) =>
      this.byHand(fault, (lease) => this.kubectl.overwriteHolder(lease)),
    'holder cleared': (fault) =>
      this.byHand(fault, (lease) => this.kubectl.clearHolder(lease)),
    'labels and annotations edited': (fault) =>
      this.byHand(fault, (lease) => this.kubectl.editMetadata(lease)),
    'renewTime edited': (fault) =>
      this.byHand(fault, (lease) => this.kubectl.editRenewTime(lease)),
    'API server stopped and started': ({ duration }) =>
      this.onServer(async () => {
        await this.server.halt();
        await sleep(duration);
        await this.server.resume();
      }),
    'API server killed and started': () =>
      this.onServer(() => this.server.restart('SIGKILL')),
    'API server paused': ({ duration }) =>
      this.onServer(async () => {
        process.kill(this.server.pid!, 'SIGSTOP');
        await sleep(duration);
        process.kill(this.server.pid!, 'SIGCONT');
      }),
    'disk of etcd slow': ({ duration, random }) =>
      this.onServer(async () => {
        await this.server.delayWrites(Math.round(random.between(100, 1_200)));
        await sleep(duration);
        await this.server.delayWrites(0);
      }),
    'etcd compacted': () => this.onServer(() => this.server.compact()),
  };

  constructor(
    private readonly workforce: Workforce,
    private readonly server: KubeApiserver,
    private readonly kubectl: Kubectl,
    private readonly proxy: FaultProxy,
    /** Those that may be edited by hand, and whose holders are struck. */
    private readonly leases: readonly string[],
  ) {}

  /** Injects all that is planned; resolves when every fault is over. */
  async inject(plan: readonly PlannedFault[]): Promise<void> {
    const start = performance.now();
    const lanes = new Map<string, Promise<void>>();
    for (const fault of plan) {
      const before = lanes.get(fault.lane) ?? Promise.resolve();
      const due = async (): Promise<void> => {
        await before;
        await sleep(Math.max(0, start + fault.at - performance.now()));
        await this.strike(fault);
      };
      lanes.set(fault.lane, due());
    }
    await Promise.all(lanes.values());
  }

  private async strike(fault: PlannedFault): Promise<void> {
    const { kind } = fault;
    const from = monotonic();
    const target = await this.strikes[kind](fault);
    this.injected.push({ kind, from, to: monotonic(), target });
  }

  private async stopAny(fault: PlannedFault): Promise<string> {
    const worker = this.drawWorker(fault.random);
    await this.stop(worker, fault);
    return worker.name;
  }

  private async stop(
    worker: WorkerProcess,
    { duration }: PlannedFault,
  ): Promise<void> {
    worker.stop();
    await sleep(duration);
    worker.goOn();
  }

  private replace(
    worker: WorkerProcess,
    { duration }: PlannedFault,
  ): Promise<unknown> {
    return this.workforce.replace(worker, duration);
  }

  /** Strikes the process that a write names as soon as the API server has done it. */
  private async atWrite(
    victimOf: (write: LeaseWrite) => string | undefined,
    strike: (victim: WorkerProcess) => Promise<unknown>,
  ): Promise<string> {
    const { name, done } = await this.nextWrite((write) => {
      const victim = this.workforce.alive.find(
        (each) => each.name === victimOf(write),
      );
      return victim && { name: victim.name, done: strike(victim) };
    });
    await done;
    return name;
  }

  /** Disturbs the writes of all processes, if possible until a PATCH that was applied has suffered from it. */
  private async onWrites(
    { duration }: PlannedFault,
    disturbance: Disturbance,
    suffered: LeaseWrite['suffered'],
  ): Promise<string> {
    const hit = this.nextWrite(
      (write) =>
        (write.verb === 'patch' &&
          write.suffered === suffered &&
          isApplied(write)) ||
        undefined,
    ).catch(() => undefined);
    const { alive } = this.workforce;
    await this.disturbAll(alive, disturbance, [sleep(duration), hit]);
    return 'all';
  }

  /** What is made of the first write of which anything is made, before its sender can know of its answer. */
  private async nextWrite<T>(
    take: (write: LeaseWrite) => T | undefined,
  ): Promise<T> {
    const ended = new AbortController();
    const found = new Promise<T>((resolve) => {
      const stop = this.proxy.listen((write) => {
        const taken = take(write);
        if (taken !== undefined) {
          stop();
          resolve(taken);
        }
      });
    });
    const tooLate = sleep(LONGEST_WAIT, undefined, { signal: ended.signal });
    try {
      return await Promise.race([
        found,
        tooLate.then(() => {
          throw new Error(`no such write came within ${LONGEST_WAIT} ms`);
        }),
      ]);
    } finally {
      ended.abort();
    }
  }

  private async onLink(
    { duration, random }: PlannedFault,
    disturb: (link: WorkerProcess['endpoint']['link']) => void,
  ): Promise<string> {
    const { name, endpoint } = this.drawWorker(random);
    disturb(endpoint.link);
    await sleep(duration);
    if (random.chance(0.3)) {
      endpoint.link.resetAll(); // what was held back is lost after all
    }
    endpoint.link.heal();
    return name;
  }

  private refuse(
    fault: PlannedFault,
    ...statuses: readonly number[]
  ): Promise<string> {
    return this.disturb(fault, { refusals: { statuses, after: false } });
  }

  private async disturb(
    { duration, random }: PlannedFault,
    disturbance: Disturbance,
  ): Promise<string> {
    const isWide = random.chance(WIDE);
    const workers = isWide ? this.workforce.alive : [this.drawWorker(random)];
    await this.disturbAll(workers, disturbance, [sleep(duration)]);
    return isWide ? 'all' : workers[0]!.name;
  }

  private async disturbAll(
    workers: readonly WorkerProcess[],
    disturbance: Disturbance,
    until: readonly Promise<unknown>[],
  ): Promise<void> {
    for (const { endpoint } of workers) {
      Object.assign(endpoint.disturbance, disturbance);
    }
    await Promise.all(until);
    for (const { endpoint } of workers) {
      for (const key of Object.keys(disturbance)) {
        Reflect.deleteProperty(endpoint.disturbance, key);
      }
    }
  }

  /** The API server may be away just now, or the Lease deleted: then it is tried again. */
  private async byHand(
    { random }: PlannedFault,
    edit: (lease: string) => Promise<boolean>,
  ): Promise<string> {
    for (const end = monotonic() + LONGEST_TRY; monotonic() < end;) {
      const held = this.leases.filter((name) => this.workforce.holderOf(name));
      const isAimed = held.length > 0 && random.chance(AIM);
      const lease = random.pick(isAimed ? held : this.leases);
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      if (await edit(lease).catch(() => false)) {
        return lease;
      }
      // oxlint-disable-next-line no-await-in-loop -- as above
      await sleep(200);
    }
    throw new Error(`no Lease could be edited within ${LONGEST_TRY} ms`);
  }

  private async onServer(act: () => Promise<unknown>): Promise<string> {
    await act();
    return 'API server';
  }

  private drawWorker(random: PlannedFault['random']): WorkerProcess {
    const holders = this.leases
      .map((name) => this.workforce.holderOf(name))
      .filter((each) => each !== undefined);
    return random.pick(
      holders.length > 0 && random.chance(AIM) ? holders : this.workforce.alive,
    );
  }
}
