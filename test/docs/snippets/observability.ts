/** Runs the examples of metrics, spans and health checks. */
import type { Type } from '@nestjs/common';
import { metrics } from '@opentelemetry/api';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { expect, vi } from 'vitest';
import { LockService } from '../../../lib/index.js';
import { startLockApp } from '../../decorators/lock-app.js';
import { startCluster, startPod } from './set-up.js';
import type { SnippetTest } from './snippet-test.js';

export const observability: Record<string, SnippetTest> = {
  telemetry: async (load) => {
    await using _ = await startCluster();
    const exporter = new InMemoryMetricExporter(
      AggregationTemporality.CUMULATIVE,
    );
    const reader = new PeriodicExportingMetricReader({ exporter });
    metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
    const { AppModule } = await load<{ AppModule: Type }>();
    const pod = await startPod(AppModule);
    await pod.get(LockService).withLock('order-7', () => undefined);
    await reader.forceFlush();
    const points = exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics)
      .flatMap((scope) => scope.metrics)
      .find(({ descriptor }) => descriptor.name === 'k8s_lock.acquisitions');
    expect(points?.dataPoints).toMatchObject([
      { value: 1, attributes: { 'k8s_lock.name': 'order-*' } },
    ]);
    await pod.close();
    await reader.shutdown();
    metrics.disable();
  },

  prometheus: async (load) => {
    // Its port may be in use here.
    const serve = vi
      .spyOn(PrometheusExporter.prototype, 'startServer')
      .mockResolvedValue();
    await using _ = await startCluster();
    const { AppModule, exporter } = await load<{
      AppModule: Type;
      exporter: PrometheusExporter;
    }>();
    expect(serve).toHaveBeenCalledOnce();
    const pod = await startPod(AppModule);
    await pod.get(LockService).withLock('order-7', () => undefined);
    const { resourceMetrics } = await exporter.collect();
    expect(
      resourceMetrics.scopeMetrics.flatMap(({ metrics: all }) =>
        all.map(({ descriptor }) => descriptor.name),
      ),
    ).toContain('k8s_lock.acquisitions');
    await pod.close();
  },

  health: async (load) => {
    const { HealthModule } = await load<{ HealthModule: Type }>();
    await using fixture = await startLockApp({ imports: [HealthModule] });
    const ask = async (path: string) =>
      (await fixture.request(`health/${path}`)).status;
    expect([await ask('live'), await ask('locks')]).toEqual([200, 200]);
    await fixture.server.refuseConnections();
    expect([await ask('live'), await ask('locks')]).toEqual([200, 503]);
    await fixture.server.acceptConnections();
  },
};
