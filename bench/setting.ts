/** What every benchmark works with: the real API server, the build, and the peers in Go. */
import { KubeConfig } from '@kubernetes/client-node';
import { KubeClient } from '../test/kube-client.js';
import { TestProcess } from '../verification/processes/test-process.js';
import type { Calls } from '../verification/processes/programs/calls.js';
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

export class Setting {
  private readonly started: AsyncDisposable[] = [];

  private constructor(
    /** One that nobody else uses. */
    readonly namespace: string,
    /** Of a user who may do everything; its context names the namespace. */
    readonly kubeConfigYaml: string,
    private readonly build: string,
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
