import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BeliefLog, readBeliefs, type Belief } from './belief-log.js';
import { findOverlaps, findStaleTokens, mostAtOnce } from './overlaps.js';

const folder = mkdtempSync(join(tmpdir(), 'beliefs-'));
afterAll(() => rmSync(folder, { recursive: true }));

const belief = (
  holding: string,
  from: number,
  to: number,
  more: Partial<Belief> = {},
): Belief => ({
  process: holding,
  lock: 'one',
  holding,
  token: undefined,
  from,
  to,
  how: 'released',
  ...more,
});

const pairsOf = (...beliefs: Belief[]): string[] =>
  findOverlaps(beliefs).map(
    ({ earlier, later, duration }) =>
      `${earlier.holding}+${later.holding}: ${duration}`,
  );

describe('findOverlaps', () => {
  it('finds each pair that has a moment in common, whatever the order', () => {
    expect(
      pairsOf(belief('c', 25, 28), belief('b', 20, 40), belief('a', 0, 30)),
    ).toEqual(['a+b: 10', 'a+c: 3', 'b+c: 3']);
  });

  it('finds one that began long before', () => {
    expect(
      pairsOf(
        belief('a', 0, Infinity),
        belief('b', 10, 20),
        belief('c', 30, 40),
      ),
    ).toEqual(['a+b: 10', 'a+c: 10']);
  });

  it('takes no hand-over for one, nor another lock', () => {
    expect(
      pairsOf(
        belief('a', 0, 10),
        belief('b', 10, 20),
        belief('c', 0, 30, { lock: 'two' }),
      ),
    ).toEqual([]);
  });
});

describe('mostAtOnce', () => {
  it('counts beliefs in any lock, and takes no hand-over for two', () => {
    expect(mostAtOnce([])).toBe(0);
    expect(
      mostAtOnce([
        belief('a', 0, 10),
        belief('b', 10, 20, { lock: 'two' }),
        belief('c', 5, Infinity, { lock: 'three' }),
        belief('d', 15, 18),
      ]),
    ).toBe(3);
  });
});

describe('findStaleTokens', () => {
  it('finds a token that is not greater than all before', () => {
    const stale = findStaleTokens([
      belief('a', 0, 1, { token: 9n }),
      belief('b', 2, 3, { token: 10n }),
      belief('c', 4, 5, { token: 10n }),
      belief('d', 6, 7),
      belief('e', 8, 9, { token: 8n }),
      belief('f', 8, 9, { token: 1n, lock: 'two' }),
    ]);
    expect(stale.map(({ holding }) => holding)).toEqual(['c', 'e']);
  });
});

describe('readBeliefs', () => {
  it('reads what was written, also by a process that was killed while it wrote', () => {
    const file = join(folder, 'killed.log');
    const log = new BeliefLog(file);
    log.write({
      event: 'acquired',
      lock: 'one',
      holding: 'a',
      token: '7',
      at: 1,
    });
    log.write({ event: 'ended', holding: 'a', how: 'lost', at: 2 });
    log.write({ event: 'acquired', lock: 'one', holding: 'b', at: 3 });
    appendFileSync(file, '{"event":"ended","hol');
    expect(readBeliefs('p', file, 5)).toEqual([
      belief('a', 1, 2, { process: 'p', token: 7n, how: 'lost' }),
      belief('b', 3, 5, { process: 'p', how: 'died' }),
    ]);
  });

  it('refuses an end without a beginning', () => {
    const file = join(folder, 'torn.log');
    new BeliefLog(file).write({
      event: 'ended',
      holding: 'x',
      how: 'lost',
      at: 2,
    });
    expect(() => readBeliefs('p', file)).toThrow('x ended without');
  });
});
