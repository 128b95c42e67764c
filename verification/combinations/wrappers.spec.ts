/** Once per fire holds with the real decorators of Sentry, MikroORM, TypeORM and CLS in between, and swapped handlers are known. */
import { expect, it } from 'vitest';
import { runWrappers } from './nest-programs.js';

const DECORATORS = [
  '@SentryTraced',
  '@SentryCron',
  '@CreateRequestContext',
  '@Transactional',
  '@UseCls',
];

it.each([
  ['nest-11', 'true'],
  // The packages that change Nest itself as it is loaded do so up to Nest 11.
  ['nest-12', 'false'],
])('with the packages of %s, as CommonJS', async (version, isInstrumented) => {
  expect(await runWrappers(version)).toEqual({
    ...Object.fromEntries(
      DECORATORS.flatMap((name) =>
        ['above', 'below'].map((place) => [
          `${name}, the lock ${place}`,
          '1 run: executed, fire-claimed',
        ]),
      ),
    ),
    '@Cron is replaced by Sentry': isInstrumented,
    'handlers are swapped by a tracer': isInstrumented,
    routes: '201 201 200, skipped 204 204 204',
    'beside a strict proxy of CLS': 'started, and strict: true',
  });
});
