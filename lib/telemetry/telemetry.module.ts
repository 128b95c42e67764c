/** K8sLockTelemetryModule, which enables metrics and spans. */
import {
  ConfigurableModuleBuilder,
  Module,
  type DynamicModule,
} from '@nestjs/common';
import { LockService } from '../lock.service.js';
import { startTelemetry } from './lock-telemetry.js';
import type { K8sLockTelemetryOptions } from './telemetry.options.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<K8sLockTelemetryOptions>({
    moduleName: 'K8sLockTelemetry',
  })
    .setClassMethodName('forRoot')
    .build();

/**
 * Records OpenTelemetry metrics and spans of all locks of the application. Needs `@opentelemetry/api`,
 * an OpenTelemetry SDK that was set up before the application starts (without one nothing is recorded),
 * and a global `K8sLockModule`. Without `@opentelemetry/api` the application does not start.
 *
 * @example
 * imports: [K8sLockModule.forRoot(), K8sLockTelemetryModule.forRoot()]
 */
@Module({
  providers: [
    {
      // Created with the other providers, and so before the first lock and the first request.
      provide: Symbol('K8S_LOCK_TELEMETRY'),
      useFactory: startTelemetry,
      inject: [LockService, MODULE_OPTIONS_TOKEN],
    },
  ],
})
export class K8sLockTelemetryModule extends ConfigurableModuleClass {
  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    return super.forRoot(options);
  }
}
