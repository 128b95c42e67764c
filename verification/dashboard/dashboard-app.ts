/** An application with the dashboard on an API server, the pods beside it, and what they do with locks. */
import { randomUUID } from 'node:crypto';
import type { INestApplication } from '@nestjs/common';
import { Injectable, Module } from '@nestjs/common';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import type { KubeConfig } from '@kubernetes/client-node';
import {
  K8sLockDashboardModule,
  type K8sLockDashboardOptions,
} from '../../lib/dashboard/index.js';
import {
  K8sLockModule,
  LockService,
  WithLeaseLock,
  type K8sLockModuleOptions,
} from '../../lib/index.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { clientOf } from '../../lib/lock.client.js';

@Injectable()
class Reports {
  @Cron('0 3 * * *', { timeZone: 'UTC' })
  @WithLeaseLock('nightly-report')
  async nightly() {}

  @Cron('*/4 * * * * *')
  @WithLeaseLock('rates')
  async rates() {}

  @WithLeaseLock('invoices')
  async sendInvoices() {}
}

@Module({ imports: [ScheduleModule.forRoot()], providers: [Reports] })
class ReportsModule {}

export interface DashboardAppOptions {
  readonly kubeConfig: KubeConfig;
  readonly namespace: string;
  readonly dashboard?: Partial<K8sLockDashboardOptions>;
  readonly lock?: K8sLockModuleOptions;
  readonly adapter?: AbstractHttpAdapter;
  readonly prefix?: string;
}

export class DashboardApp implements AsyncDisposable {
  private readonly pods: LockService[] = [];

  private constructor(
    private readonly app: INestApplication,
    private readonly options: DashboardAppOptions,
    readonly url: string,
  ) {}

  static async open(options: DashboardAppOptions): Promise<DashboardApp> {
    const { kubeConfig, namespace, dashboard, lock, adapter, prefix } = options;
    const moduleRef = await Test.createTestingModule({
      imports: [
        K8sLockModule.forRoot({
          kubeConfig,
          namespace,
          clientId: podId('api-6c9f7d'),
          shutdownTimeout: 0,
          ...lock,
        }),
        K8sLockDashboardModule.forRoot({
          public: true,
          allowForceRelease: true,
          ...dashboard,
        }),
        ReportsModule,
      ],
    }).compile();
    const settings = { logger: false } as const;
    const app = adapter
      ? moduleRef.createNestApplication(adapter, settings)
      : moduleRef.createNestApplication(settings);
    if (prefix !== undefined) {
      app.setGlobalPrefix(prefix);
    }
    await app.listen(0, '127.0.0.1');
    return new DashboardApp(app, options, await app.getUrl());
  }

  /** The locks of another pod. */
  pod(name: string, lock: K8sLockModuleOptions = {}): LockService {
    const { kubeConfig, namespace } = this.options;
    const service = new LockService(
      resolveModuleOptions({
        kubeConfig,
        namespace,
        clientId: podId(name),
        shutdownTimeout: 0,
        ...lock,
      }),
    );
    this.pods.push(service);
    return service;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.pods.map((pod) => clientOf(pod)!.shutdown()));
    await this.app.close();
  }
}

const podId = (name: string): string => `${name}_${randomUUID()}`;
