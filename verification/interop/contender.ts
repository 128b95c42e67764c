/** Starts processes that contend for locks, ours and those that are written in Go, and hears what they believe. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { beliefsOf, type Belief } from '../beliefs/belief-log.js';
import { monotonic } from '../processes/programs/calls.js';
import type {
  LeaderOptions,
  OurOptions,
  PeerOptions,
} from './programs/options.js';

/** Milliseconds for a process to end in order. */
const END_TIMEOUT = 15_000;

export class Contender implements AsyncDisposable {
  private readonly child: ChildProcess;
  private readonly closed: Promise<unknown>;
  private readonly lines: string[] = [];
  private readonly listeners = new Set<() => void>();
  private stderr = '';
  private endedAt = Infinity;

  private constructor(
    readonly name: string,
    command: string,
    parameters: readonly string[],
    options: OurOptions | LeaderOptions | PeerOptions,
  ) {
    this.child = spawn(command, parameters);
    this.closed = once(this.child, 'close').then(([code, signal]) => {
      this.endedAt = Math.min(this.endedAt, monotonic());
      this.listeners.forEach((heard) => heard());
      return code ?? signal;
    });
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      this.lines.push(line);
      this.listeners.forEach((heard) => heard());
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.child.stdin!.on('error', () => undefined); // it has ended before; its stderr says why
    this.child.stdin!.write(`${JSON.stringify(options)}\n`);
  }

  /** @param build what `buildForProcesses` has built */
  static ours(build: string, options: OurOptions): Contender {
    const program = join(build, 'verification/interop/programs/contender.js');
    return new Contender(options.name, process.execPath, [program], options);
  }

  /** @param build what `buildForProcesses` has built */
  static leader(build: string, options: LeaderOptions): Contender {
    const program = join(build, 'verification/interop/programs/leader.js');
    return new Contender(options.name, process.execPath, [program], options);
  }

  /** @param binary what `obtainPeers` gives */
  static peer(binary: string, options: PeerOptions): Contender {
    const kind = options.clientGo === undefined ? 'k8slock' : 'client-go';
    return new Contender(options.name, binary, [kind], options);
  }

  /** What it has believed so far; no belief outlives it. */
  beliefs(): Belief[] {
    return beliefsOf(this.name, this.lines, this.endedAt);
  }

  /** Waits until it has acquired a lock. @returns the first such belief */
  async acquired(lock?: string): Promise<Belief> {
    return this.believed(
      (belief) => lock === undefined || belief.lock === lock,
    );
  }

  /** Waits until it has acquired a lock after `time`. */
  async acquiredAfter(time: number): Promise<Belief> {
    return this.believed(({ from }) => from > time);
  }

  /** Waits until it has had so many turns since a moment with a lock, or with any slot of a semaphore. */
  async acquiredTimes(
    times: number,
    lock: string,
    since = -Infinity,
  ): Promise<void> {
    const turns = new Set<string>();
    await this.believed(({ holding, lock: leaseName, from }) => {
      const isOfLock =
        leaseName === lock || leaseName.startsWith(`${lock}--slot-`);
      if (isOfLock && from > since) {
        turns.add(holding);
      }
      return turns.size >= times;
    });
  }

  /** Waits until a belief of it has ended. */
  async ended(): Promise<Belief> {
    return this.believed(({ how }) => how !== 'died');
  }

  /** Kills it, so that it can do nothing more. @returns when */
  async kill(): Promise<number> {
    this.endedAt = Math.min(this.endedAt, monotonic());
    this.child.kill('SIGKILL');
    await this.closed;
    return this.endedAt;
  }

  /** Has it end in order. @returns what was wrong with it: its stderr, and an end that is none in order */
  async finish(): Promise<string[]> {
    this.child.stdin!.end();
    const late = sleep(END_TIMEOUT, 'late', { ref: false });
    const how = await Promise.race([this.closed, late]);
    await this.kill();
    const said = this.stderr
      .split('\n')
      .filter((line) => line !== '')
      // That another write came before its own, which it then tries again, is no fault.
      .filter((line) => !line.includes(' failed (conflict): '));
    return [
      ...said.map((line) => `${this.name}: ${line}`),
      ...(how === 0 ? [] : [`${this.name} has ended: ${String(how)}`]),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  private async believed(
    matches: (belief: Belief) => boolean,
  ): Promise<Belief> {
    for (;;) {
      const belief = this.beliefs().find(matches);
      if (belief !== undefined) {
        return belief;
      }
      if (this.endedAt !== Infinity) {
        throw new Error(`${this.name} has ended: ${this.stderr.trim()}`);
      }
      // oxlint-disable-next-line no-await-in-loop -- one event after the other
      await new Promise<void>((resolve) => {
        const heard = (): void => {
          this.listeners.delete(heard);
          resolve();
        };
        this.listeners.add(heard);
      });
    }
  }
}
