/** Each property of the checker, kept and violated, on evidence that is made up. */
import { describe, expect, it } from 'vitest';
import type { Belief } from '../beliefs/belief-log.js';
import { check } from './checker.js';
import {
  KUBECTL,
  type Check,
  type Evidence,
  type LeaseRecord,
  type LeaseWrite,
  type Pause,
} from './evidence.js';
import { Histories } from './histories.js';

const LOCK = 'lock';
const A = 'a_1';
const B = 'b_1';

type Spec = NonNullable<LeaseRecord['spec']>;

const held = (
  version: number,
  holder: string,
  spec: Spec = {},
): LeaseRecord => ({
  metadata: { name: LOCK, uid: 'u', resourceVersion: String(version) },
  spec: {
    holderIdentity: holder,
    leaseDurationSeconds: 2,
    acquireTime: `t${version}`,
    renewTime: `t${version}`,
    leaseTransitions: 1,
    ...spec,
  },
});

const free = (version: number): LeaseRecord => ({
  metadata: { name: LOCK, uid: 'u', resourceVersion: String(version) },
  spec: { leaseTransitions: 1 },
});

/** A write that was answered 2 ms after it was forwarded. */
const write = (
  author: string,
  forwardedAt: number,
  stored: LeaseRecord | undefined,
  basedOn: number | undefined,
  more: Partial<LeaseWrite> = {},
): LeaseWrite => ({
  author,
  verb:
    basedOn === undefined
      ? 'create'
      : stored === undefined
        ? 'delete'
        : 'replace',
  lease: LOCK,
  basedOn:
    basedOn === undefined ? {} : { uid: 'u', resourceVersion: String(basedOn) },
  sent: stored,
  forwardedAt,
  answeredAt: forwardedAt + 2,
  status: basedOn === undefined ? 201 : 200,
  stored,
  ...more,
});

const belief = (
  process: string,
  token: number,
  from: number,
  to: number,
  more: Partial<Belief> = {},
): Belief => ({
  process,
  lock: LOCK,
  holding: `${process}_1`,
  token: BigInt(token),
  from,
  to,
  how: 'released',
  ...more,
});

/** `a` creates the Lease at 0 and holds it; `b` takes it over at 2 500, as it may. */
const A_CREATES = write('a', 0, held(1, A), undefined);
const B_TAKES = write('b', 2_500, held(2, B, { leaseTransitions: 2 }), 1);
const A_LOSES = belief('a', 1, 3, 1_800, { how: 'lost', reason: 'deadline' });
const B_HOLDS = belief('b', 2, 2_503, 3_000);

const evidence = (some: Partial<Evidence> = {}): Evidence => ({
  beliefs: [A_LOSES, B_HOLDS],
  pauses: [],
  writes: [A_CREATES, B_TAKES],
  register: [],
  faults: [],
  incidents: [],
  clockRates: new Map(),
  leastStall: 50,
  ...some,
});

const findingsIn = (some: Partial<Evidence>): Check[] =>
  check(evidence(some)).findings.map((finding) => finding.check);

/** A write to the register, with the token of the process. */
const entry = (process: string, accepted: boolean, at: number) => ({
  lock: LOCK,
  process,
  holding: `${process}_1`,
  token: process === 'a' ? 1n : 2n,
  at,
  accepted,
});

const pause = (process: string, from: number, to: number): Pause => ({
  process,
  from,
  to,
  why: 'stopped',
});

describe('the checker of the fault suite', () => {
  it('finds nothing where nothing is wrong', () => {
    expect(findingsIn({})).toEqual([]);
  });

  describe('two who believe at once', () => {
    const late = { ...A_LOSES, to: 2_600 };

    it('finds them, and that the abort came too late', () => {
      expect(findingsIn({ beliefs: [late, B_HOLDS] })).toEqual([
        'aborted-too-late',
        'two-holders',
      ]);
    });

    it('finds an abort that came after the write, and before the handle', () => {
      const beliefs = [{ ...A_LOSES, to: 2_502 }, B_HOLDS];
      expect(findingsIn({ beliefs })).toEqual(['aborted-too-late']);
    });

    it('excuses the earlier one while it is paused, and no longer', () => {
      const beliefs = [late, B_HOLDS];
      const verdict = check(
        evidence({ beliefs, pauses: [pause('a', 1_000, 2_599)] }),
      );
      expect(verdict.findings).toEqual([]);
      expect(verdict.excused.map(({ excuse }) => excuse)).toEqual(['stopped']);
      expect(
        findingsIn({ beliefs, pauses: [pause('a', 1_000, 2_400)] }),
      ).toEqual(['aborted-too-late', 'two-holders']);
    });

    it('does not excuse it by a pause of the later one', () => {
      expect(
        findingsIn({
          beliefs: [late, B_HOLDS],
          pauses: [pause('b', 1_000, 2_599)],
        }),
      ).toEqual(['aborted-too-late', 'two-holders']);
    });

    it('excuses nothing within one process', () => {
      const both = [
        { ...A_LOSES, to: 2_600 },
        belief('a', 2, 2_503, 3_000, { holding: 'a_2' }),
      ];
      const again = held(2, 'a_2', { leaseTransitions: 2 });
      expect(
        findingsIn({
          beliefs: both,
          writes: [A_CREATES, write('a', 2_500, again, 1)],
          pauses: [pause('a', 1_000, 2_599)],
        }),
      ).toEqual(['touched-foreign-record', 'two-holders']);
    });

    it('excuses one who was robbed by hand, until it has to notice', () => {
      const writes = [
        A_CREATES,
        write(KUBECTL, 1_000, free(2), 1),
        write('b', 1_100, held(3, B, { leaseTransitions: 2 }), 2),
      ];
      const heir = belief('b', 3, 1_103, 5_000);
      expect(findingsIn({ writes, beliefs: [A_LOSES, heir] })).toEqual([]);
      expect(
        findingsIn({ writes, beliefs: [{ ...A_LOSES, to: 4_000 }, heir] }),
      ).toEqual(['loss-unnoticed']);
    });

    it('does not count a robbery before the acquisition', () => {
      const writes = [
        A_CREATES,
        write(KUBECTL, 100, undefined, 1),
        write('a', 200, held(3, A), undefined),
        write('b', 2_900, held(4, B, { leaseTransitions: 2 }), 3),
      ];
      const again = { ...A_LOSES, token: 3n, from: 203 };
      const heir = { ...B_HOLDS, token: 4n, from: 2_903 };
      const beliefs = [{ ...again, to: 2_800 }, heir];
      expect(findingsIn({ writes, beliefs })).toEqual([]);
      expect(
        findingsIn({ writes, beliefs: [{ ...again, to: 3_000 }, heir] }),
      ).toEqual(['aborted-too-late', 'two-holders']);
    });

    it('does not take an edit of labels for a robbery', () => {
      const labelled = held(2, A, {
        acquireTime: 't1',
        renewTime: 't1',
      });
      const writes = [
        A_CREATES,
        write(KUBECTL, 1_000, labelled, 1),
        write('b', 2_500, held(3, B, { leaseTransitions: 2 }), 2),
      ];
      expect(
        findingsIn({
          writes,
          beliefs: [late, { ...B_HOLDS, token: 3n }],
        }),
      ).toEqual(['aborted-too-late', 'two-holders']);
    });
  });

  it('finds a record that was taken over before it had expired', () => {
    const early = { ...B_TAKES, forwardedAt: 1_950, answeredAt: 1_990 };
    const beliefs = [A_LOSES, { ...B_HOLDS, from: 1_991 }];
    expect(findingsIn({ beliefs, writes: [A_CREATES, early] })).toEqual([
      'took-held-lock',
    ]);
    // Where its clock is fast, it may.
    expect(
      findingsIn({
        beliefs,
        writes: [A_CREATES, early],
        clockRates: new Map([['b', 1.05]]),
      }),
    ).toEqual([]);
  });

  it('counts from the last change of the spec, not from the last write', () => {
    const labelled = held(2, A, { acquireTime: 't1', renewTime: 't1' });
    const renewed = held(2, A);
    const taking = write('b', 2_500, held(3, B, { leaseTransitions: 2 }), 2);
    const beliefs = [A_LOSES, { ...B_HOLDS, token: 3n }];
    expect(
      findingsIn({
        beliefs,
        writes: [A_CREATES, write(KUBECTL, 1_000, labelled, 1), taking],
      }),
    ).toEqual([]);
    expect(
      findingsIn({
        beliefs,
        writes: [A_CREATES, write('a', 1_000, renewed, 1), taking],
      }),
    ).toEqual(['took-held-lock']);
  });

  it('does not take a write that changed nothing for the one that made the record', () => {
    const nothing = write(KUBECTL, 1_000, held(1, A), 1);
    const writes = [A_CREATES, nothing];
    // First: a history in which a write comes before itself has no beginning to count from.
    expect(new Histories(writes).findByVersion(LOCK, '1')).toBe(A_CREATES);
    expect(findingsIn({ writes: [...writes, B_TAKES] })).toEqual([]);
    const early = { ...B_TAKES, forwardedAt: 1_950, answeredAt: 1_990 };
    expect(findingsIn({ writes: [...writes, early] })).toContain(
      'took-held-lock',
    );
  });

  it('finds that a lock without an end was taken over', () => {
    const infinite = {
      ...A_CREATES,
      stored: held(1, A, { leaseDurationSeconds: 2_147_483_647 }),
    };
    expect(findingsIn({ writes: [infinite, B_TAKES] })).toEqual([
      'took-held-lock',
    ]);
  });

  it.each<[string, LeaseWrite]>([
    ['frees', write('b', 2_500, free(2), 1)],
    ['deletes', write('b', 2_500, undefined, 1)],
    ['renews', write('b', 2_500, held(2, A), 1)],
  ])('finds that somebody %s what is another’s', (_, touching) => {
    expect(
      findingsIn({ beliefs: [A_LOSES], writes: [A_CREATES, touching] }),
    ).toEqual(['touched-foreign-record']);
  });

  it('finds that somebody frees what it holds', () => {
    expect(
      findingsIn({
        beliefs: [{ ...A_LOSES, to: 1_800, how: 'released' }],
        writes: [A_CREATES, write('a', 1_000, free(2), 1)],
      }),
    ).toEqual(['touched-foreign-record']);
  });

  it.each<[string, LeaseWrite]>([
    [
      'without a resourceVersion',
      { ...B_TAKES, basedOn: { uid: 'u' }, status: 422, stored: undefined },
    ],
    ['without a uid', { ...B_TAKES, basedOn: { resourceVersion: '1' } }],
    ['that created the Lease again', { ...B_TAKES, status: 201 }],
  ])('finds a PUT %s', (_, blind) => {
    expect(
      findingsIn({ beliefs: [A_LOSES], writes: [A_CREATES, blind] }),
    ).toEqual(['blind-write']);
  });

  it.each<[string, LeaseRecord]>([
    ['a time', held(2, B, { leaseTransitions: 2, renewTime: undefined })],
    [
      'the duration',
      held(2, B, { leaseTransitions: 2, leaseDurationSeconds: undefined }),
    ],
    ['the count', held(2, B, { leaseTransitions: 1 })],
  ])('finds a record that lacks %s', (_, stored) => {
    expect(findingsIn({ writes: [A_CREATES, { ...B_TAKES, stored }] })).toEqual(
      ['malformed-record'],
    );
  });

  it('finds a free record that looks held', () => {
    const looksHeld = { ...free(2), spec: { ...free(2).spec, renewTime: 't' } };
    expect(
      findingsIn({
        beliefs: [A_LOSES],
        writes: [A_CREATES, write('a', 1_900, looksHeld, 1)],
      }),
    ).toEqual(['malformed-record']);
  });

  it('finds that a label of somebody else did not survive', () => {
    const { metadata, spec } = held(2, A);
    const labelled = { metadata: { ...metadata, labels: { mine: 'x' } }, spec };
    expect(
      findingsIn({
        beliefs: [A_LOSES],
        writes: [
          A_CREATES,
          write(KUBECTL, 500, labelled, 1),
          write('a', 600, held(3, A), 2),
        ],
      }),
    ).toEqual(['malformed-record']);
  });

  describe('tokens', () => {
    it('finds one that is not greater than that before', () => {
      const beliefs = [
        belief('a', 1, 3, 1_800),
        belief('a', 1, 1_900, 1_950),
        B_HOLDS,
      ];
      expect(findingsIn({ beliefs })).toEqual(['token-out-of-order']);
    });

    it('finds one that no write has made, or another’s', () => {
      expect(
        findingsIn({ beliefs: [A_LOSES, { ...B_HOLDS, token: 7n }] }),
      ).toEqual(['token-out-of-order']);
      expect(findingsIn({ beliefs: [{ ...A_LOSES, token: 2n }] })).toEqual([
        'token-out-of-order',
      ]);
    });

    it('does not hold it against anybody that an answer was lost', () => {
      const unanswered = {
        ...B_TAKES,
        status: undefined,
        answeredAt: Infinity,
        stored: undefined,
      };
      expect(findingsIn({ writes: [A_CREATES, unanswered] })).toEqual([]);
    });
  });

  it('finds that a register accepted a write from before its last writer', () => {
    const first = [entry('a', true, 10), entry('b', true, 2_510)];
    expect(
      findingsIn({ register: [...first, entry('a', false, 2_520)] }),
    ).toEqual([]);
    expect(
      findingsIn({ register: [...first, entry('a', true, 2_520)] }),
    ).toEqual(['stale-write-accepted']);
  });

  it('finds a loss to others where there were none', () => {
    expect(
      findingsIn({
        beliefs: [{ ...A_LOSES, reason: 'taken' }],
        writes: [A_CREATES],
      }),
    ).toEqual(['lost-without-cause']);
  });

  it('hands on what was noticed while it ran', () => {
    expect(
      findingsIn({
        incidents: [{ check: 'never-acquired', at: 9_000, text: 'a' }],
      }),
    ).toEqual(['never-acquired']);
  });
});
