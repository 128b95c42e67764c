/** Deliberate breakings of the engine, one rule each, as replacements in its source text. */

import { CLAIM_MUTANTS } from './claim-mutants.js';
import type { Mutant } from './mutation.js';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'no resourceVersion in the PUT',
    rule: 'R1',
    file: 'lock/record/lease-record.ts',
    replacements: [
      [
        '    metadata: { ...lease.metadata, annotations },\n',
        '    metadata: { ...lease.metadata, annotations, resourceVersion: undefined as never },\n',
      ],
    ],
  },
  {
    name: 'uid not sent',
    rule: 'R1',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        'renew(current, this.options.leaseDuration, clock)',
        'renew({ ...current, metadata: { ...current.metadata, uid: undefined as never } }, this.options.leaseDuration, clock)',
      ],
    ],
  },
  {
    name: 'conflict answered by writing over what is there',
    rule: 'R1',
    file: 'lock/acquire/acquirer.ts',
    replacements: [
      [
        '    if (!local.observed.judge(newHolder.identity).takeable) {\n      return undefined;\n    }\n',
        '',
      ],
      [
        '      this.conflict = { basedOn, error };\n      this.conflicts += 1;\n',
        '      await this.read();\n      return this.write();\n',
      ],
    ],
  },
  {
    name: 'leaseDurationSeconds absent for an infinite lease',
    rule: 'R2',
    file: 'lock/record/lease-record.ts',
    replacements: [['? INFINITE_SECONDS\n', '? (undefined as never)\n']],
  },
  {
    name: 'acquireTime left standing by renewals',
    rule: 'R3',
    file: 'lock/record/lease-record.ts',
    replacements: [
      [
        '      leaseDurationSeconds: durationSeconds(leaseDuration),\n      acquireTime: now,\n',
        '      leaseDurationSeconds: durationSeconds(leaseDuration),\n',
      ],
    ],
  },
  {
    name: 'a holder without a duration taken for expired',
    rule: 'R4',
    file: 'lock/record/lease-record.ts',
    replacements: [
      [
        'duration: expires ? seconds * 1_000 : undefined,',
        'duration: seconds ? (expires ? seconds * 1_000 : undefined) : 0,',
      ],
    ],
  },
  {
    name: 'remote clock compared with the local wall clock',
    rule: 'R5',
    file: 'lock/record/observed-lease.ts',
    replacements: [
      [
        'if (expiresAt !== undefined && this.clock.now() >= expiresAt) {',
        "if (expiresAt !== undefined && this.clock.wallMicroseconds() / 1_000 >= Date.parse(this.lease?.spec?.renewTime ?? '') + (holderState.duration ?? 0)) {",
      ],
    ],
  },
  {
    name: 'metadata change restarts the count',
    rule: 'R5',
    file: 'lock/record/lease-record.ts',
    replacements: [
      [
        '    spec.leaseTransitions ?? null,\n  ]);',
        '    spec.leaseTransitions ?? null,\n    lease.metadata.annotations,\n  ]);',
      ],
    ],
  },
  {
    name: 'renewals do not restart the count',
    rule: 'R5',
    file: 'lock/record/observed-lease.ts',
    replacements: [
      ['      this.since = now;\n', '      this.since ||= now;\n'],
    ],
  },
  {
    name: 'release that leaves the duration',
    rule: 'R6',
    file: 'lock/record/lease-record.ts',
    replacements: [['    leaseDurationSeconds: _duration,\n', '']],
  },
  {
    name: 'identity reused per process',
    rule: 'R7',
    file: 'lock/acquire/acquirer.ts',
    replacements: [
      [
        'identity = `${engine.clientId}_${randomUUID()}`;',
        'identity = `${engine.clientId}_0${randomUUID().slice(36)}`;',
      ],
    ],
  },
  {
    name: 'ambiguous write taken as failed',
    rule: 'R7',
    file: 'lock/acquire/acquirer.ts',
    replacements: [
      [
        '      if (error.ambiguous) {\n',
        '      if (error.ambiguous && clock.now() < 0) {\n',
      ],
    ],
  },
  {
    name: 'ambiguous write taken as success',
    rule: 'R7',
    file: 'lock/acquire/acquirer.ts',
    replacements: [
      [
        '      if (error.ambiguous) {\n',
        "      if (error.ambiguous) {\n        return { identity: newHolder.identity, lease: lease ?? ({ metadata: { uid: '', resourceVersion: '1' } } as StoredLease), sentAt, mayBeCreatedLate: false };\n",
      ],
    ],
  },
  {
    name: 'ambiguous write not made impossible when nobody wants it any more',
    rule: 'R7',
    file: 'lock/lease/withdrawal.ts',
    replacements: [
      [
        '        await local.replace(() => invalidate(lease, identity), options);\n',
        '        return;\n',
      ],
      [
        'import { createFree, invalidate, evict }',
        'import { createFree, evict }',
      ],
    ],
  },
  {
    name: 'lock that does not expire created taken',
    rule: 'R7',
    file: 'lock/lease/take-record.ts',
    replacements: [
      [
        "return newHolder.leaseDuration === 'infinite'",
        "return newHolder.leaseDuration === ('never' as never)",
      ],
    ],
  },
  {
    name: 'no own deadline',
    rule: 'R8',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        "  return leaseDuration === 'infinite'\n    ? Infinity\n    : sentAt",
        "  return leaseDuration === 'infinite' || leaseDuration > 0\n    ? Infinity\n    : sentAt",
      ],
    ],
  },
  {
    name: 'deadline counted from the answer',
    rule: 'R8',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      ['this.lastSentAt = sentAt;', 'this.lastSentAt = clock.now();'],
    ],
  },
  {
    name: 'no safety margin',
    rule: 'R8',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        'sentAt + leaseDuration - safetyMargin',
        'sentAt + leaseDuration - safetyMargin * 0',
      ],
    ],
  },
  {
    name: 'deadline timer set by its length, which a pause makes late',
    rule: 'R8',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        'return clock.schedule(at, callback, { background: true });',
        'return clock.schedule(at - clock.now() + clock.now(), callback, { background: true });',
      ],
    ],
  },
  {
    name: 'renewal goes on after loss',
    rule: 'R8',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      ['    this.stop();\n    this.ended.abort();\n', ''],
      [
        'this.cancelCheck?.();\n    if (this.isHeld) {',
        'this.cancelCheck?.();\n    if (this.options.autoRenew) {',
      ],
      ['    if (!this.isHeld) {\n      return;\n    }\n    try {', '    try {'],
      ['if (!this.isHeld || !this.checkRecord(lease)) {', 'if (!lease) {'],
    ],
  },
  {
    name: 'watch trusted over the record',
    rule: 'R8',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      ['void this.inTurn(() => this.verify());', "this.lose('deleted');"],
    ],
  },
  {
    name: 'Lease deleted by a release that was not asked to',
    rule: 'R9',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        'remove: options.deleteOnRelease && !this.mayBeCreatedLate,',
        'remove: !this.mayBeCreatedLate,',
      ],
    ],
  },
  {
    name: 'Lease deleted whatever it has become',
    rule: 'R9',
    file: 'lock/lease/local-lease.ts',
    replacements: [
      [
        'this.store.delete(this.key, { uid, resourceVersion }, options),',
        'this.store.delete(this.key, { uid: undefined as never, resourceVersion: (uid, resourceVersion, undefined as never) }, options),',
      ],
    ],
  },
  {
    name: 'annotations of others dropped',
    rule: 'R10',
    file: 'lock/record/lease-record.ts',
    replacements: [['    ...others,\n', '']],
  },
  {
    name: 'Lease of coordinated leader election taken',
    rule: 'R10',
    file: 'lock/record/lease-record.ts',
    replacements: [
      [
        "return strategy !== undefined && strategy !== null && strategy !== '';",
        "return strategy === '';",
      ],
    ],
  },
  {
    name: 'lower version ignored while the Lease is known to be absent',
    rule: 'a restore of etcd is noticed',
    file: 'lock/lease/local-lease.ts',
    replacements: [
      [
        'if (versionOf(lease) < newest) {',
        'if (this.observed.lease && versionOf(lease) < newest) {',
      ],
    ],
  },
  {
    name: 'release without looking whether the record is ours',
    rule: 'release touches nothing of another’s',
    file: 'lock/lease/free-record.ts',
    replacements: [
      [
        'lease is StoredLease => lease?.spec?.holderIdentity === ending.identity;',
        'lease is StoredLease => lease !== null && lease !== undefined && ending.identity !== undefined;',
      ],
    ],
  },
  {
    name: 'local waiter gives up and nobody releases for the one before',
    rule: 'handover',
    file: 'lock/lease/local-lease.ts',
    replacements: [['      this.endHandover?.();\n', '']],
  },
  {
    name: 'only the last of the holders that have ended is remembered',
    rule: 'handover',
    file: 'lock/record/observed-lease.ts',
    replacements: [
      [
        '    this.ended.set(identity, claim);\n',
        '    this.ended.clear();\n    this.ended.set(identity, claim);\n',
      ],
    ],
  },
  {
    name: 'shutdown does not wait for releases in flight',
    rule: 'shutdown releases everything',
    file: 'lock/lock-engine.ts',
    replacements: [
      [
        '    await withTimeout(\n      clock,\n      closeAt - clock.now(),\n      Promise.all(this.background),\n    );\n',
        '',
      ],
    ],
  },
  {
    name: 'lock given back by the first that shares it',
    rule: 're-entrancy',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      ['return this.handles === 0 ?', 'return this.handles >= 0 ?'],
    ],
  },
  {
    name: 'lock that was shared never given back',
    rule: 're-entrancy',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        '  lend(): void {\n    this.handles += 1;',
        '  lend(): void {\n    this.handles += 1 + Math.min(this.handles, 1);',
      ],
    ],
  },
  {
    name: 'lock handed out in the very turn of the shutdown',
    rule: 'shutdown: no new locks',
    file: 'lock/lock-engine.ts',
    replacements: [
      [
        '      if (this.closing.signal.aborted) {\n        // Acquired',
        '      if (this.closed.signal.aborted) {\n        // Acquired',
      ],
    ],
  },
  {
    name: 'work not asked to stop before the rest has closed',
    rule: 'shutdown: signals first',
    file: 'lock/lock-engine.ts',
    replacements: [
      [
        '    for (const hold of this.holders) {\n      hold.askToStop();\n    }\n',
        '',
      ],
      [
        '    this.beginShutdown(timeout);\n    this.shutdownRun',
        '    this.beginShutdown(timeout);\n    this.holders.forEach((hold) => hold.askToStop());\n    this.shutdownRun',
      ],
    ],
  },
  {
    name: 'waits not ended before the rest has closed',
    rule: 'shutdown: no new locks',
    file: 'lock/lock-engine.ts',
    replacements: [
      [
        '    for (const attempt of this.acquirers) {\n      attempt.close();\n    }\n',
        '',
      ],
      [
        '    this.beginShutdown(timeout);\n    this.shutdownRun',
        '    this.beginShutdown(timeout);\n    this.acquirers.forEach((attempt) => attempt.close());\n    this.shutdownRun',
      ],
    ],
  },
  {
    name: 'fencing token that a deletion sets back',
    rule: 'fencing token',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        'BigInt(acquisition.lease.metadata.resourceVersion)',
        'BigInt(acquisition.lease.spec?.leaseTransitions ?? 0)',
      ],
    ],
  },
  {
    name: 'sleep that ignores cancellation',
    rule: 'cancellation',
    file: 'lock/engine-context.ts',
    replacements: [
      ["    signal?.addEventListener('abort', stop, { once: true });\n", ''],
    ],
  },
  {
    name: 'skip that takes every holder for alive',
    rule: 'a skip is for the living',
    file: 'lock/acquire/wait-policy.ts',
    replacements: [
      ['clock.now() <= LONGEST_LOOK', 'clock.now() <= -LONGEST_LOOK'],
    ],
  },
  ...CLAIM_MUTANTS,
];
