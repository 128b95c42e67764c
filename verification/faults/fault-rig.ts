/** All that faults are injected into: an API server, worker processes, and what stands between them. */
import {
  startKubeApiserver,
  type KubeApiserver,
} from '../kube-apiserver/kube-apiserver.js';
import { KubeClient } from '../../test/kube-client.js';
import { Random } from '../simulation/random.js';
import type { Evidence } from './evidence.js';
import {
  obtainFaketime,
  type Clock,
  type ObtainedFaketime,
} from './faketime.js';
import { FaultInjector } from './fault-injector.js';
import { planFaults, type FaultName } from './fault-plan.js';
import { FaultProxy } from './fault-proxy.js';
import { Kubectl } from './kubectl.js';
import { Operator } from './operator.js';
import { leasesOf } from './leases.js';
import {
  LEAST_STALL,
  type ElectionProfile,
  type LockProfile,
} from './programs/messages.js';
import { Workforce } from './workforce.js';

export interface FaultRigOptions {
  readonly seed: string;
  readonly processes: number;
  /** How many callers there are in each process. */
  readonly callers: number;
  readonly locks: readonly LockProfile[];
  /** For which each process runs. */
  readonly election?: ElectionProfile;
  /** A build of the package and of the programs. */
  readonly build: string;
  /** Of Node.js, for the processes. */
  readonly execArgv?: readonly string[];
}

const NAMESPACE = 'faults';
/** The greatest difference in rate between two clocks of one run. */
const RATE_DIFFERENCE = 0.05;
/** Hours. */
const OFFSETS = [-9, -1, 3, 26];

export class FaultRig implements AsyncDisposable {
  private constructor(
    private readonly random: Random,
    private readonly server: KubeApiserver,
    private readonly proxy: FaultProxy,
    readonly workforce: Workforce,
    readonly kubectl: Kubectl,
    private readonly operator: Operator,
    private readonly injector: FaultInjector,
    private readonly faketime: ObtainedFaketime,
    private readonly permits: ReadonlyMap<string, number>,
    /** All that locks, semaphores and the election are made of. */
    readonly leases: readonly string[],
  ) {}

  /** Starts everything; the processes are at work from then on. */
  static async start(options: FaultRigOptions): Promise<FaultRig> {
    const { seed, locks, election, callers, build, execArgv } = options;
    const random = new Random(seed);
    const faketime = await obtainFaketime();
    const server = await startKubeApiserver();
    const admin = server.kubeConfig();
    await new KubeClient(admin).createNamespace(NAMESPACE);
    const proxy = await FaultProxy.start(
      {
        server: server.server,
        caData: server.caData,
        token: server.tokens.admin!,
        namespace: NAMESPACE,
      },
      random.fork('proxy'),
    );
    const workforce = new Workforce(
      { build, folder: server.dataDir, faketime, execArgv },
      proxy,
      { locks, election, callers, seed },
      random.fork('clocks'),
      drawClocks(random.fork('rates')),
    );
    const leases = [
      ...locks.flatMap(leasesOf),
      ...(election ? [election.name] : []),
    ];
    const permits = locks.flatMap(({ name, options: { permits: most = 1 } }) =>
      most > 1 ? [[name, most] as const] : [],
    );
    const kubectl = new Kubectl(admin, NAMESPACE, proxy.writes);
    const rig = new FaultRig(
      random,
      server,
      proxy,
      workforce,
      kubectl,
      new Operator(workforce, kubectl, locks),
      new FaultInjector(workforce, server, kubectl, proxy, leases),
      faketime,
      new Map(permits),
      leases,
    );
    await workforce.start(options.processes);
    return rig;
  }

  /** Faults that can't be injected on this machine, and why. */
  get notInjected(): string[] {
    return 'unavailable' in this.faketime
      ? [`clock rate: ${this.faketime.unavailable}`]
      : [];
  }

  /**
   * Injects faults for so many milliseconds; resolves when all are over.
   *
   * @param gap milliseconds between two faults that come one after the other, on average
   */
  async injectFaults(
    duration: number,
    gap: number,
    names: readonly FaultName[],
  ): Promise<void> {
    const random = this.random.fork(`plan ${this.injector.injected.length}`);
    await this.injector.inject(planFaults(random, duration, gap, names));
  }

  /** To be called when the processes have ended. */
  evidence(): Evidence {
    const { all, register, incidents } = this.workforce;
    return {
      beliefs: all.flatMap((each) => each.beliefs()),
      pauses: all.flatMap((each) => each.allPauses()),
      writes: this.proxy.writes,
      register,
      faults: [
        ...this.injector.injected,
        ...all.flatMap((each) => each.clockFaults()),
      ],
      incidents,
      permits: this.permits,
      clockRates: new Map(all.map(({ name, clock }) => [name, clock.rate])),
      leastStall: LEAST_STALL,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.operator[Symbol.asyncDispose]();
    await this.workforce[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
    await this.server.stop();
  }
}

/**
 * A clock may go 5 % too fast or too slow, as long as no other differs from it by more. (Those of the
 * simulator may differ by twice that. Then the default margin leaves half a percent of a lease: less
 * than the time that a busy machine takes to give a process its turn.)
 */
function drawClocks(random: Random): Clock[] {
  const slowest = random.pick([
    1 - RATE_DIFFERENCE,
    1 - RATE_DIFFERENCE / 2,
    1,
  ]);
  const rates = [slowest, slowest + RATE_DIFFERENCE];
  return [
    ...rates.filter((rate) => rate !== 1).map((rate) => ({ offset: 0, rate })),
    { offset: random.pick(OFFSETS), rate: 1 },
    { offset: random.pick(OFFSETS), rate: random.pick(rates) },
  ];
}
