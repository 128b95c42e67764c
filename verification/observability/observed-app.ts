/** A Nest application whose metrics are on a page for Prometheus, by OpenTelemetry's exporter. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { WithLeaseLock } from '../../lib/index.js';
import { K8sLockTelemetryModule } from '../../lib/telemetry/index.js';
import { startLockApp, type LockApp } from '../../test/decorators/lock-app.js';

class Jobs {
  @Cron('* * * * * *')
  @WithLeaseLock('statements')
  async send() {}

  @Cron('* * * * * *')
  @WithLeaseLock('rates')
  async fetch() {}
}

export interface ObservedApp extends LockApp {
  /** Host and port of the page `/metrics`. */
  readonly target: string;
  /** The page, as Prometheus gets it. */
  page(): Promise<string>;
}

export async function startObservedApp(): Promise<ObservedApp> {
  const exporter = new PrometheusExporter({ preventServerStart: true });
  const meterProvider = new MeterProvider({ readers: [exporter] });
  const server = createServer((request, response) =>
    exporter.getMetricsRequestHandler(request, response),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on a port
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const app = await startLockApp({
    imports: [
      ScheduleModule.forRoot(),
      K8sLockTelemetryModule.forRoot({
        meterProvider,
        lockName: ({ name }) => name,
      }),
    ],
    providers: [Jobs],
  });
  return {
    ...app,
    target,
    page: async () => (await fetch(`http://${target}/metrics`)).text(),
    [Symbol.asyncDispose]: async () => {
      await app[Symbol.asyncDispose]();
      server.close();
      server.closeAllConnections();
      await meterProvider.shutdown();
    },
  };
}
