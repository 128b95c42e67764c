/** Tracers, which change other packages as these are loaded: so they are loaded first. */
import { NestInstrumentation } from '@opentelemetry/instrumentation-nestjs-core';
import * as Sentry from '@sentry/nestjs';

/** Sends nothing anywhere; without a DSN it would not wrap @Cron. */
Sentry.init({
  dsn: 'http://key@127.0.0.1:9/1',
  tracesSampleRate: 1,
  transport: () => ({
    send: async () => ({}),
    flush: async () => true,
  }),
});
export const instrumentation = new NestInstrumentation();
