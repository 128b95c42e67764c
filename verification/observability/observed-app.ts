/** A Nest application whose metrics are on a page for Prometheus, by OpenTelemetry's exporter. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { K8sLockModule, LockService, WithLeaseLock } from '../../lib/index.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { clientOf } from '../../lib/lock.client.js';
import { K8sLockTelemetryModule } from '../../lib/telemetry/index.js';
import type { ServerUnderTest } from '../../test/api-servers.js';
import { FaultLink, portOf } from '../faults/fault-link.js';

class Jobs {
  @Cron('* * * * * *')
  @WithLeaseLock('statements')
  async send() {}

  @Cron('* * * * * *')
  @WithLeaseLock('rates')
  async fetch() {}
}

export interface ObservedApp extends AsyncDisposable {
  readonly locks: LockService;
  /** Another client of the same API server, as in another process. */
  readonly others: LockService;
  /** The way from the application to the API server. */
  readonly link: FaultLink;
  /** Host and port of the page `/metrics`. */
  readonly target: string;
  /** The page, as Prometheus gets it. */
  page(): Promise<string>;
}

/** Starts the application with the documented rights alone. */
export async function startObservedApp(
  api: ServerUnderTest,
): Promise<ObservedApp> {
  const verbs = ['get', 'list', 'watch', 'create', 'update', 'patch'];
  const apiGroups = ['coordination.k8s.io'];
  await api.grant({ apiGroups, resources: ['leases'], verbs });
  const { namespace } = api;
  const { link, kubeConfig } = await FaultLink.openTo(
    api.restrictedKubeConfigYaml,
  );

  const exporter = new PrometheusExporter({ preventServerStart: true });
  const meterProvider = new MeterProvider({ readers: [exporter] });
  const server = createServer((request, response) =>
    exporter.getMetricsRequestHandler(request, response),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const target = `127.0.0.1:${portOf(server.address())}`;

  const moduleRef = await Test.createTestingModule({
    imports: [
      K8sLockModule.forRoot({ kubeConfig, namespace, shutdownTimeout: 0 }),
      ScheduleModule.forRoot(),
      K8sLockTelemetryModule.forRoot({
        meterProvider,
        lockName: ({ name }) => name,
      }),
    ],
    providers: [Jobs],
  }).compile();
  const app = moduleRef.createNestApplication({ logger: false });
  await app.init();
  const others = new LockService(
    resolveModuleOptions({
      kubeConfig: api.kubeConfig,
      namespace,
      shutdownTimeout: 0,
    }),
  );
  return {
    locks: app.get(LockService),
    others,
    link,
    target,
    page: async () => (await fetch(`http://${target}/metrics`)).text(),
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await clientOf(others)!.shutdown();
      link.close();
      server.close();
      server.closeAllConnections();
      await meterProvider.shutdown();
    },
  };
}
