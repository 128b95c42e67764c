/** A program that takes locks all the time, in every way, and writes down what it believes of them. */
import { appendFileSync } from 'node:fs';
import { KubeConfig } from '@kubernetes/client-node';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { K8sLockModule, LockService } from 'nestjs-k8s-lock';
import { BeliefLog } from '../../beliefs/belief-log.js';
import { monotonic } from '../../processes/programs/calls.js';
import { skewWallClock } from '../../processes/programs/wall-clock.js';
import { Random } from '../../simulation/random.js';
import { Caller } from './caller.js';
import { Candidate } from './candidate.js';
import {
  LEAST_STALL,
  SESSION_LEASE,
  type Mode,
  type Order,
  type Report,
  type Stall,
  type WorkerOptions,
} from './messages.js';
import { takeSample } from './sample.js';
import { TrueTime } from './true-time.js';

const REQUEST_TIMEOUT = 1_000;
/** Milliseconds between two signs of life of the event loop. */
const BEAT = 20;
/** Milliseconds between two looks at whether the clock goes as it was set. */
const CLOCK_CHECK = 2_000;

function tell(report: Report): void {
  process.send?.(report);
}

let answerTime: (at: number) => void = () => undefined;

function askTime(): Promise<number> {
  return new Promise((resolve) => {
    answerTime = resolve;
    tell({ type: 'what-time' });
  });
}

/** Writes down each time in which the event loop has not turned. */
function watchStalls(file: string, time: TrueTime): NodeJS.Timeout {
  let last = time.earliest();
  return setInterval(() => {
    const from = last;
    last = time.earliest();
    if (last - from > BEAT + LEAST_STALL) {
      // By then every timer has fired that was due.
      setImmediate(() => {
        const stall: Stall = { from, to: time.latest() };
        appendFileSync(file, `${JSON.stringify(stall)}\n`);
      });
    }
  }, BEAT);
}

/** Tells now and then whether the clock goes as it was set. */
function watchClock(time: TrueTime): NodeJS.Timeout {
  let isAsking = false;
  const look = async (): Promise<void> => {
    isAsking = true;
    const residual = await time.residual(askTime);
    tell({ type: 'clock-residual', residual });
    isAsking = false;
  };
  return setInterval(() => {
    if (!isAsking) {
      void look();
    }
  }, CLOCK_CHECK);
}

function blockEventLoop(duration: number): void {
  for (const until = monotonic() + duration; monotonic() < until;) {}
}

async function start(options: WorkerOptions): Promise<(order: Order) => void> {
  if (options.wallClockOffset !== 0) {
    skewWallClock(options.wallClockOffset);
  }
  const time = await TrueTime.find(options.clockRate, askTime);
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(options.kubeConfigYaml);
  const random = new Random(`${options.seed}/${options.name}`);
  const witness = { time, log: new BeliefLog(options.beliefLog), tell };
  const { election } = options;
  const candidate =
    election && new Candidate(witness, election, random.fork('candidate'));

  @Module({
    imports: [
      K8sLockModule.forRoot({
        kubeConfig,
        clientId: options.name,
        requestTimeout: REQUEST_TIMEOUT,
        renewal: options.renewal,
        leaseDuration: SESSION_LEASE,
        verifyAtStartup: false,
      }),
      ...(candidate ? [candidate.module()] : []),
    ],
  })
  // oxlint-disable-next-line typescript/no-extraneous-class -- what a module has is in its decorator
  class AppModule {}

  const app = await NestFactory.createApplicationContext(AppModule, {
    logger: false,
    abortOnError: false,
  });
  const surroundings = {
    ...witness,
    locks: app.get(LockService),
    profiles: options.locks,
  };
  const callers = Array.from(
    { length: options.callers },
    (_, index) => new Caller(surroundings, random.fork(String(index))),
  );
  const timers = [watchStalls(options.stallLog, time), watchClock(time)];
  const turnTo = async (mode: Mode): Promise<void> => {
    candidate?.turnTo(mode);
    await Promise.all(
      callers.map((caller, index) =>
        caller.turnTo(mode === 'calm' && index > 0 ? 'rest' : mode),
      ),
    );
    if (mode === 'rest') {
      tell({ type: 'resting' });
    }
  };
  /** Nothing is left then that keeps the process alive. */
  const finish = async (): Promise<void> => {
    await turnTo('rest');
    await app.close();
    process.off('disconnect', leave);
    timers.forEach((timer) => clearInterval(timer));
    process.disconnect();
  };
  return (order) => {
    if (order.type === 'mode') {
      void turnTo(order.mode);
    } else if (order.type === 'block') {
      blockEventLoop(order.duration);
    } else if (order.type === 'sample') {
      tell({ type: 'sample', sample: takeSample() });
    } else if (order.type === 'finish') {
      void finish();
    }
  };
}

/** Whoever started this process is gone. */
const leave = (): void => process.exit();
process.on('disconnect', leave);

let follow: (order: Order) => void = () => undefined;

async function hear(order: Order): Promise<void> {
  if (order.type === 'time') {
    answerTime(order.at);
  } else if (order.type === 'start') {
    follow = await start(order.options);
    tell({ type: 'ready' });
  } else {
    follow(order);
  }
}

process.on('message', (order: Order) => void hear(order));
