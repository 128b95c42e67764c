/** The replicas, each a process: starts them, notes and displays what they report, and ends them. */
import { fork, type ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Display } from './display.js';
import type { GoOn, Report } from './reports.js';
import type { WorkLog } from './work-log.js';

const PROGRAM = new URL('./replica.js', import.meta.url);
/** Milliseconds: more than an application takes to shut down. */
const GRACE_PERIOD = 30_000;
/** Milliseconds: what has not happened by then will not happen. */
const PATIENCE = 60_000;

/** Something that must happen did not; the message says what. */
export class MissingError extends Error {}

export interface Replica {
  readonly name: string;
  /** Where it listens. */
  readonly url: string;
}

/** Works that have begun, and are kept from going on. */
export interface Hold {
  /** The replica of the first of them. */
  readonly begun: Promise<string>;
  /** Lets all of them go on, and those that come later. */
  letGo(): void;
}

interface Started {
  readonly child: ChildProcess;
  readonly closed: Promise<unknown>;
  url: string;
  isEnding: boolean;
}

type Of<T extends Report['type']> = Extract<Report, { type: T }>;

export class Replicas
  extends EventEmitter<{ report: [report: Report, replica: string] }>
  implements AsyncDisposable
{
  /** Those that run, and that nobody has told to end. */
  private readonly started = new Map<string, Started>();
  private readonly held = new Map<string, (() => void)[]>();
  private readonly crash = new AbortController();
  /** What aborts when the demo is interrupted, or a replica has ended by itself. */
  private readonly signal: AbortSignal;

  constructor(
    private readonly sample: string,
    private readonly log: WorkLog,
    private readonly display: Display,
    interrupt: AbortSignal,
  ) {
    super();
    this.setMaxListeners(0);
    this.signal = AbortSignal.any([interrupt, this.crash.signal]);
  }

  get all(): readonly Replica[] {
    return [...this.started].map(([name, { url }]) => ({ name, url }));
  }

  /** Starts one for each name, all at the same time; resolves when all are ready. */
  async start(
    names: readonly string[],
    envOf: (name: string) => NodeJS.ProcessEnv,
  ): Promise<void> {
    const ready = names.map((name) =>
      this.next('ready', (_, replica) => replica === name),
    );
    for (const name of names) {
      this.startOne(name, envOf(name));
    }
    await Promise.all(ready);
  }

  /** One of the others. */
  otherThan(name: string): Replica {
    return this.all.find((other) => other.name !== name)!;
  }

  /**
   * Resolves with the replica that next sends a report that matches. To be called before what causes it. Rejects
   * with MissingError, or the reason of an interrupt.
   */
  next<T extends Report['type']>(
    type: T,
    matches: (report: Of<T>, replica: string) => boolean,
  ): Promise<string> {
    const patience = AbortSignal.timeout(PATIENCE);
    const signal = AbortSignal.any([this.signal, patience]);
    const isNext = (report: Report): report is Of<T> => report.type === type;
    const next = new Promise<string>((resolve, reject) => {
      const hear = (report: Report, replica: string): void => {
        if (isNext(report) && matches(report, replica)) {
          this.off('report', hear);
          signal.removeEventListener('abort', giveUp);
          resolve(replica);
        }
      };
      const giveUp = (): void => {
        this.off('report', hear);
        reject(
          this.signal.aborted
            ? this.signal.reason
            : new MissingError(`no replica has reported "${type}" for 60 s`),
        );
      };
      this.on('report', hear);
      signal.addEventListener('abort', giveUp);
      if (signal.aborted) {
        giveUp();
      }
    });
    next.catch(() => undefined); // it may reject before anybody waits for it
    return next;
  }

  /** From now on, keeps each work on this from going on after it has begun. */
  hold(subject: string): Hold {
    this.held.set(subject, []);
    return {
      begun: this.next('begin', (report) => report.subject === subject),
      letGo: () => {
        const waiting = this.held.get(subject) ?? [];
        this.held.delete(subject);
        waiting.forEach((goOn) => goOn());
      },
    };
  }

  /** kill -9; resolves when it has ended and everything that it reported has been heard. */
  async kill(name: string): Promise<void> {
    this.signal.throwIfAborted();
    const { child, closed } = this.end(name, 'SIGKILL');
    const at = process.hrtime.bigint();
    this.display.log(name, 'KILL', `kill -9 ${child.pid}, at work`, {
      style: 'red',
      at,
    });
    await closed;
    this.log.cutShort(name, at);
  }

  /** SIGTERM, as from the kubelet, and SIGKILL to one that takes too long; resolves when all have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ending = [...this.started.keys()].map(async (name) => {
      const { child, closed } = this.end(name, 'SIGTERM');
      const patience = setTimeout(() => child.kill('SIGKILL'), GRACE_PERIOD);
      await closed;
      clearTimeout(patience);
      this.log.cutShort(name, process.hrtime.bigint());
    });
    await Promise.all(ending);
  }

  private end(name: string, signal: NodeJS.Signals): Started {
    const replica = this.started.get(name)!;
    this.started.delete(name);
    replica.isEnding = true;
    replica.child.kill(signal);
    return replica;
  }

  private startOne(name: string, env: NodeJS.ProcessEnv): void {
    const child = fork(PROGRAM, [this.sample], {
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      serialization: 'advanced', // has bigint
      detached: true, // Ctrl-C is for this process, which ends the replicas itself
    });
    const replica: Started = {
      child,
      closed: once(child, 'close'),
      url: '',
      isEnding: false,
    };
    this.started.set(name, replica);
    for (const input of [child.stdout!, child.stderr!]) {
      createInterface({ input }).on('line', (line) =>
        this.display.log(name, 'log', line),
      );
    }
    child.on('message', (report: Report) => this.hear(name, replica, report));
    child.once('close', (code, signal) => {
      if (!replica.isEnding) {
        const how = signal ? `by ${signal}` : `with exit code ${code}`;
        this.started.delete(name);
        this.log.cutShort(name, process.hrtime.bigint());
        this.display.log(name, 'CRASH', `ended by itself, ${how}`, {
          style: 'red',
        });
        this.crash.abort(
          new MissingError(`${name} has ended by itself, ${how}`),
        );
      }
    });
  }

  private hear(name: string, replica: Started, report: Report): void {
    if (report.type === 'ready') {
      replica.url = report.url;
      const { pid } = replica.child;
      this.display.log(name, 'ready', `pid ${pid}, ${report.url}`);
    } else if (report.type === 'begin') {
      const { at: begin, id, subject, token, fire } = report;
      this.log.begin({ replica: name, id, subject, token, fire, begin });
      const goOn = (): void => {
        if (replica.child.connected) {
          replica.child.send({ goOn: id } satisfies GoOn);
        }
      };
      const held = this.held.get(subject);
      if (held) {
        held.push(goOn);
      } else {
        goOn();
      }
    } else if (report.type === 'end') {
      this.log.end(name, report.id, report.at, report.isDone);
    }
    this.emit('report', report, name);
  }
}
