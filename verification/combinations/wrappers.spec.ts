/** Once per fire holds with the real decorators of Sentry, MikroORM, TypeORM and CLS in between, and a swapped handler is known. */
import { expect, it } from 'vitest';
import { runWrappers } from './nest-programs.js';

// Sentry's and OpenTelemetry's packages are for Nest 11.
const results = await runWrappers('nest-11');

it('with Nest 11, as CommonJS', () => {
  const decorators = [
    '@SentryTraced',
    '@SentryCron',
    '@CreateRequestContext',
    '@Transactional',
    '@UseCls',
  ];
  expect(results).toEqual({
    ...Object.fromEntries(
      decorators.flatMap((name) =>
        ['above', 'below'].map((place) => [
          `${name}, the lock ${place}`,
          '1 run: executed, fire-claimed',
        ]),
      ),
    ),
    '@Cron is replaced by Sentry': 'true',
    'a tracer of handlers is on': 'true',
    'a skipped route under a tracer': '201, 204',
  });
});
