/** Starts the programs of `./programs` as processes: calls them, hears what they report, sends them signals. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { buildFolder } from '../../test/support/build-folder.js';
import type {
  CallMessage,
  Calls,
  ProgramEvent,
  Passed,
  ProgramMessage,
} from './programs/calls.js';

interface PendingCall {
  readonly resolve: (result: Passed) => void;
  readonly reject: (error: Error) => void;
}

interface PendingEvent {
  readonly matches: (event: ProgramEvent) => boolean;
  readonly resolve: (event: ProgramEvent) => void;
  readonly reject: (error: Error) => void;
}

/** A program, running in a process of its own. */
export class TestProcess<C extends Calls> implements AsyncDisposable {
  /** All that it has reported. */
  readonly events: ProgramEvent[] = [];
  private readonly child: ChildProcess;
  private readonly pendingCalls = new Map<number, PendingCall>();
  private readonly pendingEvents = new Set<PendingEvent>();
  private readonly listeners = new Set<(event: ProgramEvent) => void>();
  private calls = 0;
  private end: Error | undefined;
  private output = '';

  private constructor(private readonly program: string) {
    this.child = fork(program, {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output = (this.output + text).slice(-4_000);
      });
    }
    this.child.on('message', (message: ProgramMessage) => this.hear(message));
    this.child.once('close', (code, signal) => this.ended(code ?? signal));
  }

  /**
   * Starts a program and waits until it answers calls.
   *
   * @param path of its source without the extension, from the root: `verification/processes/programs/locker`
   * @param build what `buildForProcesses` has built
   */
  static async start<C extends Calls>(
    path: string,
    build = buildFolder(),
  ): Promise<TestProcess<C>> {
    const started = new TestProcess<C>(join(build, `${path}.js`));
    await started.event('ready');
    return started;
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Calls the program. Rejects with what it threw there, and when it ends without an answer. */
  call<N extends keyof C & string>(
    name: N,
    ...parameters: Parameters<C[N]>
  ): Promise<Awaited<ReturnType<C[N]>>> {
    return new Promise((resolve, reject) => {
      if (this.end) {
        reject(this.end);
        return;
      }
      const id = ++this.calls;
      this.pendingCalls.set(id, { resolve, reject });
      this.child.send({ id, name, parameters } satisfies CallMessage);
    });
  }

  /** The first event of a type, past or to come, whose details are these. */
  event(
    type: string,
    details?: Record<string, unknown>,
  ): Promise<ProgramEvent> {
    const past = this.events.find(matcher(type, details));
    return past ? Promise.resolve(past) : this.nextEvent(type, details);
  }

  /** As {@link event}, but what was before this call does not count. */
  nextEvent(
    type: string,
    details?: Record<string, unknown>,
  ): Promise<ProgramEvent> {
    return new Promise((resolve, reject) => {
      if (this.end) {
        reject(this.end);
      } else {
        const matches = matcher(type, details);
        this.pendingEvents.add({ matches, resolve, reject });
      }
    });
  }

  /** Calls back for every event to come. */
  onEvent(listener: (event: ProgramEvent) => void): void {
    this.listeners.add(listener);
  }

  /** Sends a signal, to this process and to no other. */
  signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
    this.child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exited = once(this.child, 'exit');
      this.child.kill('SIGKILL');
      await exited;
    }
  }

  private hear(message: ProgramMessage): void {
    if ('event' in message) {
      this.happened(message.event);
    } else if ('ready' in message) {
      this.happened({ type: 'ready', at: 0 });
    } else {
      const pending = this.pendingCalls.get(message.id);
      this.pendingCalls.delete(message.id);
      if ('error' in message) {
        const { name, message: text } = message.error;
        pending?.reject(Object.assign(new Error(text), { name }));
      } else {
        pending?.resolve(message.result);
      }
    }
  }

  private happened(event: ProgramEvent): void {
    this.events.push(event);
    for (const listener of this.listeners) {
      listener(event);
    }
    for (const pending of this.pendingEvents) {
      if (pending.matches(event)) {
        this.pendingEvents.delete(pending);
        pending.resolve(event);
      }
    }
  }

  private ended(how: number | string | null): void {
    this.end = new Error(
      `${this.program} has ended (${how}):\n${this.output.trim()}`,
    );
    const pending = [...this.pendingCalls.values(), ...this.pendingEvents];
    this.pendingCalls.clear();
    this.pendingEvents.clear();
    for (const { reject } of pending) {
      reject(this.end);
    }
  }
}

function matcher(
  type: string,
  details: Record<string, unknown> = {},
): (event: ProgramEvent) => boolean {
  return (event) =>
    event.type === type &&
    Object.entries(details).every(([key, value]) => event[key] === value);
}
