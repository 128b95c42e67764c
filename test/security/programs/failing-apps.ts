/**
 * Starts one application after the other, each with a configuration that fails in its own way, lets
 * locks fail in every way they can, and prints all that comes out of it as a careless developer would.
 */
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { KubeConfig } from '@kubernetes/client-node';
import {
  ConsoleLogger,
  Injectable,
  Module,
  type INestApplicationContext,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  InMemorySpanExporter,
  BasicTracerProvider,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import {
  K8sLockModule,
  LockError,
  LockService,
  WithLeaseLock,
  type LeaseLock,
} from 'nestjs-k8s-lock';
import { LockHealthIndicator } from 'nestjs-k8s-lock/health';
import { K8sLockTelemetryModule } from 'nestjs-k8s-lock/telemetry';

/** One application. */
export interface FailingApp {
  readonly name: string;
  /** The configuration, loaded as JSON; else it is looked for where `KUBECONFIG` says. */
  readonly kubeConfig?: object;
  readonly KUBECONFIG?: string;
  /** Further options of the module. */
  readonly options?: Record<string, unknown>;
  /** What the work under a lock throws, if any is acquired. */
  readonly workFailsWith?: string;
}

const LOCK = {
  leaseDuration: 1_000,
  renewInterval: 100,
  retryInterval: 20,
  waitTimeout: 100,
  shutdownTimeout: 0,
} as const;

/** In every way in which things get into logs. */
function show(what: string, value: unknown): void {
  console.log(what, value);
  console.error(what, String(value));
  console.log(
    inspect(value, { depth: Infinity, showHidden: true, getters: true }),
  );
  const seen = new Set<unknown>();
  console.log(
    JSON.stringify(value, (_, each: unknown) => {
      if (typeof each === 'bigint') {
        return String(each);
      }
      if (typeof each !== 'object' || each === null) {
        return each;
      }
      if (seen.has(each)) {
        return '(circular)';
      }
      seen.add(each);
      return each;
    }),
  );
  if (value instanceof LockError) {
    show('body', value.getResponse());
  }
}

async function attempt<T>(
  what: string,
  call: () => T | Promise<T>,
): Promise<T | undefined> {
  try {
    const result = await call();
    show(what, result);
    return result;
  } catch (error) {
    showFailure(what, error);
    return undefined;
  }
}

function showFailure(what: string, error: unknown): void {
  show(what, error);
  const { reason, name }: { reason?: string; name?: string } = Object(error);
  console.log(`@ ${what}: ${reason ?? name}`);
}

/** Lets a lock go through what befalls it, until it is lost or a moment is over. */
async function hold(lock: LeaseLock): Promise<void> {
  show('lock', lock);
  await new Promise((resolve) => {
    lock.signal.addEventListener('abort', resolve, { once: true });
    setTimeout(resolve, 2 * LOCK.leaseDuration);
  });
  await attempt('assertHeld', () => lock.assertHeld());
  await lock.release();
}

function jobsOf({ workFailsWith }: FailingApp): Type<{ run(): Promise<void> }> {
  @Injectable()
  class Jobs {
    @WithLeaseLock('job', { onLocked: 'throw' })
    async run(): Promise<void> {
      if (workFailsWith !== undefined) {
        throw new Error(workFailsWith);
      }
    }
  }
  return Jobs;
}

async function run(app: FailingApp): Promise<void> {
  console.log(`# ${app.name}`);
  if (app.KUBECONFIG !== undefined) {
    process.env.KUBECONFIG = app.KUBECONFIG;
  }
  const kubeConfig =
    app.kubeConfig === undefined ? undefined : new KubeConfig();
  kubeConfig?.loadFromString(JSON.stringify(app.kubeConfig));
  const spans = new InMemorySpanExporter();
  const tracerProvider = new BasicTracerProvider({
    spanProcessors: [new SimpleSpanProcessor(spans)],
  });
  const Jobs = jobsOf(app);
  @Module({
    imports: [
      K8sLockModule.forRoot({
        ...LOCK,
        ...(kubeConfig ? { kubeConfig } : { inCluster: false }),
        ...app.options,
      }),
      K8sLockTelemetryModule.forRoot({ tracerProvider }),
    ],
    providers: [Jobs, LockHealthIndicator],
  })
  class AppModule {}

  let started: INestApplicationContext;
  try {
    started = await NestFactory.createApplicationContext(AppModule, {
      logger: new ConsoleLogger({ colors: false }),
      abortOnError: false,
    });
  } catch (error) {
    return showFailure('start', error);
  }
  const locks = started.get(LockService);
  locks.events$.subscribe((event) => show('event', event));
  locks.requests$.subscribe((event) => show('request', event));
  await attempt('run', () => started.get(Jobs).run());
  const lock = await attempt('acquire', () => locks.acquire('held'));
  if (lock) {
    await hold(lock);
  }
  await attempt('tryAcquire', () => locks.tryAcquire('other'));
  await attempt('inspect', () => locks.inspect('job'));
  await attempt('list', () => locks.list());
  await attempt('forceRelease', () => locks.forceRelease('job'));
  await attempt('health', () =>
    started.get(LockHealthIndicator).isHealthy('locks', { timeout: 500 }),
  );
  await started.close();
  show('spans', spans.getFinishedSpans());
}

const apps: FailingApp[] = JSON.parse(readFileSync(process.argv[2]!, 'utf8'));
for (const app of apps) {
  // oxlint-disable-next-line no-await-in-loop -- one application after the other
  await run(app);
}
console.log('# end');
