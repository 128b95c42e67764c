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
import { startWrite } from './lease-write.js';

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

const annotated = (
  lease: LeaseRecord,
  annotations: Readonly<Record<string, string>>,
): LeaseRecord => ({
  ...lease,
  metadata: { ...lease.metadata, annotations },
});

/** As the proxy notes it, from what is on the wire. */
const patched = (
  author: string,
  forwardedAt: number,
  body: unknown,
  stored: LeaseRecord | undefined,
  status = 200,
): LeaseWrite => {
  const writes: LeaseWrite[] = [];
  const request = { method: 'PATCH', url: `/leases/${LOCK}` };
  const content = Buffer.from(JSON.stringify(body));
  startWrite(writes, author, request, content)!(
    status,
    Buffer.from(JSON.stringify(stored ?? {})),
  );
  const noted = { ...writes[0]!, forwardedAt, answeredAt: forwardedAt + 2 };
  return stored === undefined
    ? { ...noted, status: undefined, answeredAt: Infinity, stored }
    : noted;
};

/** The patch that adds annotations. */
const merge = (annotations: unknown, uid?: string): unknown => ({
  metadata: { uid, annotations },
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
  permits: new Map(),
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

const slotOf = (slot: number): string =>
  slot === 0 ? 'export' : `export--slot-${slot}`;

/** Of a process whose name is the number of its slot. */
const inSlot = (slot: number, from: number, to: number): Belief =>
  belief(`p${slot}`, slot + 1, from, to, {
    lock: slotOf(slot),
    name: 'export',
  });
const takenSlot = (slot: number, at: number): LeaseWrite => {
  const lease = held(slot + 1, `p${slot}_1`);
  const name = slotOf(slot);
  return write(
    `p${slot}`,
    at,
    { ...lease, metadata: { ...lease.metadata, name } },
    undefined,
    { lease: name },
  );
};
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

  describe('a semaphore of two permits', () => {
    const permits = new Map([['export', 2]]);
    const first = inSlot(0, 3, 2_600);
    const second = inSlot(1, 13, 3_000);
    const writes = [takenSlot(0, 0), takenSlot(1, 10), takenSlot(2, 2_500)];
    const judged = (third: Belief, more: Partial<Evidence> = {}): Check[] =>
      findingsIn({ permits, writes, beliefs: [first, second, third], ...more });

    it('may have two holders, one after the other, and as many locks beside it', () => {
      const after = inSlot(2, 2_600, 3_000);
      expect(judged(after)).toEqual([]);
      const other = { ...inSlot(2, 2_503, 3_000), name: 'another' };
      expect(judged(other)).toEqual([]);
    });

    it('may not have three at once, whatever their slots are', () => {
      const third = inSlot(2, 2_503, 3_000);
      expect(judged(third)).toEqual(['too-many-holders']);
      expect(judged(third, { permits: new Map([['export', 3]]) })).toEqual([]);
    });

    it('is not held by a process that is paused, for others and for itself, and no longer', () => {
      const third = inSlot(2, 2_503, 3_000);
      const paused = [pause('p0', 1_000, 2_599)];
      expect(judged(third, { pauses: paused })).toEqual([]);
      const ofItself = { ...third, process: 'p0', holding: 'p2_1' };
      expect(judged(ofItself, { pauses: paused })).not.toContain(
        'too-many-holders',
      );
      expect(judged(third, { pauses: [pause('p0', 1_000, 2_400)] })).toEqual([
        'too-many-holders',
      ]);
      expect(judged(third, { pauses: [pause('p2', 1_000, 2_599)] })).toEqual([
        'too-many-holders',
      ]);
    });

    it('is not held by a process from which a slot was taken by hand', () => {
      const third = inSlot(2, 2_503, 3_000);
      const robbed = write(KUBECTL, 2_000, free(9), 1, { lease: 'export' });
      expect(judged(third, { writes: [...writes, robbed] })).toEqual([]);
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

  describe('a lock that is held under a session', () => {
    const SESSION = 'session-a';
    const own = (lease: LeaseRecord): LeaseRecord => ({
      ...lease,
      metadata: { ...lease.metadata, name: SESSION, uid: 's' },
    });
    const ofSession = (
      author: string,
      at: number,
      stored: LeaseRecord | undefined,
      basedOn?: number,
    ): LeaseWrite =>
      write(author, at, stored && own(stored), basedOn, {
        lease: SESSION,
        ...(basedOn && {
          basedOn: { uid: 's', resourceVersion: String(basedOn) },
        }),
      });
    const opened = ofSession('a', 0, held(1, 'a_0'));
    const created = write(
      'a',
      3,
      annotated(held(2, A, { leaseDurationSeconds: 2_147_483_647 }), {
        'nestjs-k8s-lock/session': `${SESSION} s 2 by ${A}`,
      }),
      undefined,
    );
    const taken = write('b', 2_600, held(9, B, { leaseTransitions: 2 }), 2);
    const beliefs = [
      { ...A_LOSES, token: 2n, from: 5 },
      { ...B_HOLDS, token: 9n, from: 2_603 },
    ];
    const judged = (...others: LeaseWrite[]): Check[] =>
      findingsIn({ beliefs, writes: [opened, created, ...others] });

    it('may be taken when the session was ended, by somebody else when it had expired or by its process', () => {
      const ended = ofSession('b', 2_500, free(3), 1);
      expect(judged(ended, taken)).toEqual([]);
      const deleted = ofSession('a', 1_900, undefined, 1);
      expect(judged(deleted, taken)).toEqual([]);
    });

    it('may not be taken before', () => {
      expect(judged(taken)).toEqual(['took-held-lock']);
      const late = ofSession('b', 2_700, free(10), 1);
      expect(judged(taken, late)).toEqual(['took-held-lock']);
    });

    it('may not be taken after a session was ended that had not expired', () => {
      const early = ofSession('b', 1_900, free(3), 1);
      expect(judged(early, taken)).toEqual(['took-held-lock']);
      const renewed = ofSession('a', 1_000, held(3, 'a_0'), 1);
      const tooSoon = ofSession('b', 2_500, free(4), 3);
      expect(judged(renewed, tooSoon, taken)).toEqual(['took-held-lock']);
    });
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

  describe('places in line and grants', () => {
    const TICKET_OF_B = ['line.nestjs-k8s-lock/1', '1 2 b_1'] as const;
    const PATH_OF_B = '/metadata/annotations/line.nestjs-k8s-lock~11';
    const UID = { op: 'test', path: '/metadata/uid', value: 'u' };

    const line = (version: number): LeaseRecord => ({
      metadata: {
        ...held(version, A).metadata,
        annotations: Object.fromEntries([TICKET_OF_B]),
      },
      spec: held(1, A).spec,
    });
    const enrolment = merge(Object.fromEntries([TICKET_OF_B]), 'u');
    const B_ENROLS = patched('b', 500, enrolment, line(2));

    const granted = annotated(held(3, B, { leaseTransitions: 2 }), {
      'nestjs-k8s-lock/grant': '1000 0 b_1',
    });
    const grantOf = (
      { spec = {} }: LeaseRecord,
      ...without: readonly string[]
    ): unknown =>
      [
        UID,
        { op: 'test', path: '/spec', value: held(1, A).spec },
        ...Object.entries(spec).map(([name, value]) => ({
          op: 'add',
          path: `/spec/${name}`,
          value,
        })),
        { op: 'remove', path: PATH_OF_B },
      ].filter(({ op, path }) => !(without.includes(path) && op !== 'add'));
    const A_GRANTS = patched('a', 1_000, grantOf(granted), granted);
    const A_ENDS = belief('a', 1, 3, 999);
    const B_IS_GIVEN = belief('b', 3, 1_003, 1_500);

    const findings = (
      writes: readonly LeaseWrite[],
      beliefs: readonly Belief[] = [A_ENDS, B_IS_GIVEN],
    ): Check[] =>
      findingsIn({ beliefs, writes: [A_CREATES, B_ENROLS, ...writes] });

    it('finds nothing wrong with a grant to a process in line', () => {
      expect(findings([A_GRANTS])).toEqual([]);
    });

    it('lets the token be a later version that names the same holder', () => {
      const ticket = { 'line.nestjs-k8s-lock/2': '3 2 c_2' };
      const later = annotated(granted, ticket);
      const seen = {
        ...later,
        metadata: { ...later.metadata, resourceVersion: '4' },
      };
      const beliefs = [A_ENDS, { ...B_IS_GIVEN, token: 4n }];
      const enrols = patched('c', 1_001, merge(ticket, 'u'), seen);
      expect(findings([A_GRANTS, enrols], beliefs)).toEqual([]);
      const unanswered = patched('c', 1_001, merge(ticket, 'u'), undefined);
      expect(findings([A_GRANTS, unanswered], beliefs)).toEqual([]);
      expect(findings([A_GRANTS], beliefs)).toEqual(['token-out-of-order']);
      expect(findings([unanswered], beliefs)).toEqual(['token-out-of-order']);
    });

    it('finds that what is granted is still held', () => {
      const late = { ...A_ENDS, to: 1_002 };
      expect(findings([A_GRANTS], [late, B_IS_GIVEN])).toEqual([
        'touched-foreign-record',
      ]);
    });

    it.each<[string, LeaseWrite, Check]>([
      [
        'of what is another’s',
        patched('c', 1_000, grantOf(granted), granted),
        'touched-foreign-record',
      ],
      [
        'to a process that is not in line',
        patched(
          'a',
          1_000,
          grantOf({
            ...granted,
            spec: { ...granted.spec, holderIdentity: 'c_9' },
          }),
          { ...granted, spec: { ...granted.spec, holderIdentity: 'c_9' } },
        ),
        'touched-foreign-record',
      ],
      [
        'that leaves the ticket',
        patched('a', 1_000, grantOf(granted, PATH_OF_B), granted),
        'malformed-record',
      ],
      [
        'for longer than its holder asked for',
        patched(
          'a',
          1_000,
          grantOf({
            ...granted,
            spec: { ...granted.spec, leaseDurationSeconds: 9 },
          }),
          { ...granted, spec: { ...granted.spec, leaseDurationSeconds: 9 } },
        ),
        'malformed-record',
      ],
      [
        'without its lease duration',
        patched('a', 1_000, grantOf(granted), annotated(granted, {})),
        'malformed-record',
      ],
      [
        'that does not test the uid',
        patched('a', 1_000, grantOf(granted, UID.path), granted),
        'blind-write',
      ],
      [
        'that does not test the spec',
        patched('a', 1_000, grantOf(granted, '/spec'), granted),
        'blind-write',
      ],
    ])('finds a grant %s', (_, grants, expected) => {
      expect(new Set(findings([grants], [A_ENDS]))).toContain(expected);
    });

    it('finds a request for a place that does not say in which Lease, or that changes more', () => {
      const nowhere = merge(Object.fromEntries([TICKET_OF_B]));
      const more = { metadata: { uid: 'u' }, spec: { holderIdentity: B } };
      expect(findings([patched('b', 600, nowhere, line(3))], [])).toEqual([
        'blind-write',
      ]);
      expect(findings([patched('b', 600, more, undefined)], [])).toEqual([
        'blind-write',
      ]);
    });

    it('lets a request for a place say which version of the Lease it has seen', () => {
      const annotations = Object.fromEntries([TICKET_OF_B]);
      const enrols = {
        metadata: { uid: 'u', resourceVersion: '1', annotations },
      };
      const writes = [A_CREATES, patched('b', 500, enrols, line(2))];
      expect(findingsIn({ beliefs: [A_ENDS], writes })).toEqual([]);
    });

    it('does not hold a record of another client against the process that enrols', () => {
      const overwritten = held(2, 'by-hand', { acquireTime: undefined });
      const enrols = patched('b', 600, enrolment, {
        ...overwritten,
        metadata: line(3).metadata,
      });
      const writes = [A_CREATES, write(KUBECTL, 500, overwritten, 1), enrols];
      expect(findingsIn({ beliefs: [A_ENDS], writes })).toEqual([]);
    });

    it('does not hold a record of another client against the process that keeps it', () => {
      const overwritten = held(2, 'by-hand', {
        acquireTime: undefined,
        leaseTransitions: undefined,
      });
      const kept = annotated(
        { ...overwritten, metadata: held(3, A).metadata },
        { 'nestjs-k8s-lock/undone': 'b_1' },
      );
      const shorter = {
        ...kept,
        spec: { ...kept.spec, leaseDurationSeconds: 1 },
      };
      const byHand = write(KUBECTL, 500, overwritten, 1);
      const findingsOf = (record: LeaseRecord): Check[] =>
        findingsIn({
          beliefs: [A_ENDS],
          writes: [A_CREATES, byHand, write('b', 600, record, 2)],
        });
      expect(findingsOf(kept)).toEqual([]);
      expect(findingsOf(shorter)).toContain('malformed-record');
    });

    it('finds that somebody takes the place of another, or enrols another', () => {
      const removal = [UID, { op: 'remove', path: PATH_OF_B }];
      const gone = held(3, A, held(1, A).spec);
      expect(findings([patched('b', 600, removal, gone)], [])).toEqual([]);
      expect(findings([patched('c', 600, removal, gone)], [])).toEqual([
        'touched-foreign-record',
      ]);
      expect(findings([patched('c', 600, enrolment, line(3))], [])).toEqual([
        'touched-foreign-record',
      ]);
    });

    it('finds a Lease that is deleted, or loses its line, while others are in line', () => {
      const beliefs = [A_ENDS];
      const deletes = write('a', 1_000, undefined, 2);
      expect(findings([deletes], beliefs)).toEqual(['touched-foreign-record']);
      expect(findings([write('a', 1_000, free(3), 2)], beliefs)).toEqual([
        'touched-foreign-record',
      ]);
    });

    it.each([
      ['after', '2', []],
      ['before', '0', ['touched-foreign-record']],
    ])(
      'judges who takes the lock past another, having come %s it',
      (_, number, expected) => {
        const ticket = { 'line.nestjs-k8s-lock/2': `${number} 2 c_2` };
        const both = { ...line(3).metadata.annotations, ...ticket };
        const enrols = patched(
          'c',
          600,
          merge(ticket, 'u'),
          annotated(line(3), both),
        );
        const taken = held(4, 'c_2', { leaseTransitions: 2 });
        const takes = [
          UID,
          { op: 'test', path: '/spec', value: held(1, A).spec },
          { op: 'add', path: '/spec/holderIdentity', value: 'c_2' },
          { op: 'remove', path: PATH_OF_B },
          { op: 'remove', path: PATH_OF_B.replace('11', '12') },
        ];
        expect(
          findings([enrols, patched('c', 2_600, takes, taken)], [A_ENDS]),
        ).toEqual(expected);
      },
    );

    it('finds that a grant was taken over before it had lapsed', () => {
      const spec = { ...held(4, 'c_1').spec, leaseTransitions: 3 };
      const taken = { ...held(4, 'c_1'), spec };
      const takes = (at: number): LeaseWrite =>
        patched(
          'c',
          at,
          [
            UID,
            { op: 'test', path: '/spec', value: granted.spec },
            { op: 'add', path: '/spec/holderIdentity', value: 'c_1' },
          ],
          taken,
        );
      expect(findings([A_GRANTS, takes(2_000)], [A_ENDS])).toEqual([]);
      expect(findings([A_GRANTS, takes(1_990)], [A_ENDS])).toEqual([
        'took-held-lock',
      ]);
      // Its holder must know that it lapses.
      const believes = { ...B_IS_GIVEN, to: 2_100 };
      expect(findings([A_GRANTS, takes(2_050)], [A_ENDS, believes])).toEqual([
        'aborted-too-late',
      ]);
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
