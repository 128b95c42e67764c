/** Every combination of @WithLeaseLock with the decorators of Nest, with Nest 11 and 12: all is as without the lock. */
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LeaseApiServer } from '../../lib/testing/index.js';
import { CombinationsTable } from './combinations-table.js';
import { loadPrograms, type NestPrograms } from './nest-programs.js';
import type { Observation } from './programs/observe.js';
import type {
  Combinations,
  LockUse,
  Services,
} from './programs/combination-run.js';
import { obtainRedis, type RedisServer } from './redis-server.js';

const PLACEMENTS = ['above', 'below'] as const;
const COMPARED = ['status', 'body', 'metadata', 'registration'] as const;

const [redis, ...versions] = await Promise.all([
  obtainRedis(),
  loadPrograms('nest-11'),
  loadPrograms('nest-12'),
]);
const columnOf = (version: string, placement: string): string =>
  `Nest ${version}, ${placement}`;
/** Names what was compared in a row, with a dash for each aspect that its methods do not have. */
const ASPECTS = 'compared';
const table = new CombinationsTable(
  [
    ASPECTS,
    ...versions.flatMap(({ version }) =>
      PLACEMENTS.map((placement) => columnOf(version, placement)),
    ),
  ],
  versions.flatMap(({ combinations, redisCombinations }) =>
    Object.keys({ ...combinations, ...redisCombinations }),
  ),
);
afterAll(() => {
  console.log(
    `@WithLeaseLock above and below other decorators, compared with the same class without it (–: there is nothing to compare); and for the lock: held while the method runs, free afterwards. HTTP is that of Express; for Fastify see test/decorators/http-platforms.spec.ts.\n\n${String(table)}\n`,
  );
});

describe.each(versions)('with Nest $version', (nest) => {
  let server: LeaseApiServer;
  beforeAll(async () => {
    server = await nest.LeaseApiServer.start();
  });
  afterAll(() => server.stop());

  compareAll(nest, nest.combinations, () => ({ server }));

  it('GraphQL tells its clients what has become of the lock', async () => {
    const answers = await nest.askGraphQL(server);
    expect(answers).toMatchObject({
      'plain free': { plain: 'ran' },
      'plain taken': {
        message:
          'Lock "taken" was not acquired: it is held by another call of this process.',
        extensions: {
          status: 423,
          originalError: { error: 'LockNotAcquiredError', lock: 'taken' },
        },
      },
      'filtered free': { filtered: 'ran' },
      'filtered taken': {
        message: 'The lock is held by another request or process',
        extensions: {
          code: 'LOCK_NOT_ACQUIRED',
          statusCode: 423,
          lock: 'taken',
          reason: 'held',
          retryAfter: 1,
        },
      },
      'filtered lost': {
        extensions: { code: 'LOCK_LOST', reason: 'deadline' },
      },
      'filtered refused': {
        extensions: { code: 'LOCK_BACKEND', reason: 'forbidden' },
      },
    });
    const texts = [
      'plain lost',
      'plain refused',
      'filtered lost',
      'filtered refused',
    ].map((name) => JSON.stringify(answers[name]));
    for (const text of texts) {
      expect(text).not.toMatch(/127\.0\.0\.1|Grant|[0-9a-f]{8}-[0-9a-f]{4}/);
    }
  });

  describe('and Redis', () => {
    let started: RedisServer;
    beforeAll(async () => {
      started = await redis.start();
    });
    afterAll(() => started.stop());

    compareAll(nest, nest.redisCombinations, () => ({
      server,
      redis: started.socket,
    }));
  });
});

// The last of this file: by now, all of them have had their turn.
it('all were run', () => {
  expect(table.findNotRun()).toEqual([]);
});

function compareAll(
  { version, observe }: NestPrograms,
  combinations: Combinations,
  services: () => Services,
): void {
  describe.each(Object.entries(combinations))('%s', (name, combination) => {
    let without: { observation: Observation; lockUse: LockUse };
    beforeAll(async () => {
      without = await observe(combination, 'left out', services());
    });

    it.each(PLACEMENTS)('@WithLeaseLock %s', async (placement) => {
      const column = columnOf(version, placement);
      table.set(name, column, 'failed');
      const { observation, lockUse } = await observe(
        combination,
        placement,
        services(),
      );
      const faults = [without.lockUse, lockUse].flatMap(findFaults);
      const compared = COMPARED.map((aspect) =>
        Object.hasOwn(without.observation, aspect) ? aspect : '–',
      );
      table.set(name, ASPECTS, compared.join(', '));
      const failed = [
        ...COMPARED.filter(
          (aspect) =>
            !isDeepStrictEqual(
              observation[aspect],
              without.observation[aspect],
            ),
        ),
        ...(faults.length > 0 ? ['lock'] : []),
      ];
      table.set(name, column, failed.join(', ') || 'equal');
      expect(faults).toEqual([]);
      expect(observation).toStrictEqual(without.observation);
    });
  });
}

/** What is wrong with the locks that the calls of a method held. */
function findFaults({ names, claims, entries, writes }: LockUse): string[] {
  const isLocked = names.length > 0;
  const faults = entries
    .filter(
      ({ current, held }) =>
        (current !== undefined) !== isLocked || !isDeepStrictEqual(held, names),
    )
    .map(
      ({ current, held }) =>
        `ran under ${current ?? 'no lock'} while [${held.join(', ')}] were held`,
    );
  if (entries.length === 0) {
    faults.push('did not run');
  }
  // A call that goes on under a lock that is held already has the token of that lock.
  const calls = new Set(entries.map(({ token }) => token)).size;
  const expected = calls * (names.length * 2 + claims);
  if (writes !== expected) {
    faults.push(`wrote Leases ${writes} times, not ${expected}`);
  }
  return faults;
}
