/** An application whose locks are followed by the real OpenTelemetry SDK, with exporters in memory. */
import type { ModuleMetadata } from '@nestjs/common';
import { context, type Attributes } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base';
import {
  K8sLockTelemetryModule,
  type K8sLockTelemetryOptions,
} from '../../lib/telemetry/index.js';
import {
  startLockApp,
  type LockApp,
  type LockAppOptions,
} from '../decorators/lock-app.js';

/** One time series. */
export interface Series {
  readonly attributes: Attributes;
  /** Of a counter the sum, of a histogram how many values were recorded. */
  readonly value: number;
  /** Of a histogram: what was recorded, summed up. */
  readonly sum?: number;
}

export interface TelemetryApp extends LockApp {
  readonly tracerProvider: BasicTracerProvider;
  /** The time series of a metric as they are now; none if nothing was recorded. */
  series(metric: string): Promise<Series[]>;
  /** Name, unit, and type of every metric. */
  metrics(): Promise<{ name: string; unit: string; type: string }[]>;
  /** The spans that have ended, in that order. */
  spans(): ReadableSpan[];
}

export async function startTelemetryApp(
  metadata: ModuleMetadata = {},
  {
    lockName,
    ...app
  }: LockAppOptions & Pick<K8sLockTelemetryOptions, 'lockName'> = {},
): Promise<TelemetryApp> {
  const metricExporter = new InMemoryMetricExporter(
    AggregationTemporality.CUMULATIVE,
  );
  const reader = new PeriodicExportingMetricReader({
    exporter: metricExporter,
    exportIntervalMillis: 3_600_000,
  });
  const meterProvider = new MeterProvider({ readers: [reader] });
  const spanExporter = new InMemorySpanExporter();
  const tracerProvider = new BasicTracerProvider({
    spanProcessors: [new SimpleSpanProcessor(spanExporter)],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager());

  const fixture = await startLockApp(
    {
      ...metadata,
      imports: [
        ...(metadata.imports ?? []),
        K8sLockTelemetryModule.forRoot({
          meterProvider,
          tracerProvider,
          lockName,
        }),
      ],
    },
    app,
  );
  const collect = async () => {
    metricExporter.reset();
    await reader.forceFlush();
    return metricExporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) =>
        scopeMetrics.flatMap(({ metrics }) => metrics),
      );
  };
  return {
    ...fixture,
    tracerProvider,
    series: async (name) => {
      const found = await collect();
      return found
        .filter(({ descriptor }) => descriptor.name === name)
        .flatMap(({ dataPoints }): Series[] =>
          dataPoints.map(({ attributes, value }) =>
            typeof value === 'number'
              ? { attributes, value }
              : { attributes, value: value.count, sum: value.sum },
          ),
        );
    },
    metrics: async () =>
      (await collect()).map(({ descriptor, dataPointType }) => ({
        name: descriptor.name,
        unit: descriptor.unit,
        type: DataPointType[dataPointType],
      })),
    spans: () => spanExporter.getFinishedSpans(),
    [Symbol.asyncDispose]: async () => {
      await fixture[Symbol.asyncDispose]();
      await meterProvider.shutdown();
      await tracerProvider.shutdown();
      context.disable();
    },
  };
}
