/** What every benchmark works with: the real API server, the build, and the peers in Go. */
import { KubeConfig } from '@kubernetes/client-node';
import { KubeClient } from '../test/kube-client.js';
import { TestProcess } from '../verification/processes/test-process.js';
import type { Calls } from '../verification/processes/programs/calls.js';
import type { LockerCalls } from '../verification/processes/programs/locker.js';
import type { Report } from './report.js';

export interface Bench {
  /** One sentence: what is measured, and against what. */
  readonly about: string;
  run(setting: Setting): Promise<Report>;
}

export interface BenchOptions {
  /** Whether it is more important to be done soon than to be exact. */
  readonly quick: boolean;
  /** Numbers of pods that contend for a lock. */
  readonly crowds: readonly number[];
}

/** How a process renews its locks. */
export interface RenewalMode {
  readonly renewal: 'lock' | 'session';
  /** Of the module. */
  readonly options: object;
}

export class Setting {
  private readonly started: AsyncDisposable[] = [];

  private constructor(
    /** One that nobody else uses. */
    readonly namespace: string,
    /** Of a user who may do everything; its context names the namespace. */
    readonly kubeConfigYaml: string,
    /** What was built for processes. */
    readonly build: string,
    /** The program with the peers. */
    readonly peers: string,
    readonly options: BenchOptions,
  ) {}

  static async prepare(
    adminKubeConfig: string,
    build: string,
    peers: string,
    options: BenchOptions,
  ): Promise<Setting> {
    const namespace = await new KubeClient(adminKubeConfig).createNamespace();
    const config = new KubeConfig();
    config.loadFromString(adminKubeConfig);
    config.contexts = config.contexts.map((each) => ({ ...each, namespace }));
    return new Setting(namespace, config.exportConfig(), build, peers, options);
  }

  /** Starts a program, which ends with the benchmark. */
  async start<C extends Calls>(program: string): Promise<TestProcess<C>> {
    const started = await TestProcess.start<C>(program, this.build);
    this.started.push(started);
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.started.map((each) => each[Symbol.asyncDispose]()));
  }
}

/** The ways to renew that the package has; what it has not is told, and skipped. */
export async function renewalModes(setting: Setting): Promise<RenewalMode[]> {
  const { kubeConfigYaml } = setting;
  const byLock: RenewalMode = { renewal: 'lock', options: {} };
  const bySession: RenewalMode = {
    renewal: 'session',
    options: { renewal: 'session' },
  };
  const [locker] = await openLockers(setting, 1);
  try {
    await locker!.call('open', { kubeConfigYaml, ...bySession.options });
    return [byLock, bySession];
  } catch (error) {
    console.log(`renewal: 'session' is skipped: ${String(error)}\n`);
    return [byLock];
  }
}

export type Locker = TestProcess<LockerCalls>;

/** Processes that acquire and release locks when they are told to. */
export function openLockers(
  setting: Setting,
  count: number,
  options: object = {},
): Promise<Locker[]> {
  const { kubeConfigYaml } = setting;
  return Promise.all(
    Array.from({ length: count }, async () => {
      const locker = await setting.start<LockerCalls>(
        'verification/processes/programs/locker',
      );
      await locker.call('open', { kubeConfigYaml, ...options });
      return locker;
    }),
  );
}
