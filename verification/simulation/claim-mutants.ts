/** Deliberate breakings of how planned fires are claimed, as replacements in the source text of the engine. */
import type { Mutant } from './mutation.js';

export const CLAIM_MUTANTS: readonly Mutant[] = [
  {
    name: 'claim not written by the acquiring write',
    rule: 'once per fire',
    file: 'lock/record/lease-record.ts',
    replacements: [
      [
        '...(newHolder.claimed === undefined\n',
        '...(newHolder.identity !== undefined\n',
      ],
      ['writeClaim(newHolder.claimed, ', 'writeClaim(newHolder.claimed!, '],
    ],
  },
  {
    name: 'the same fire taken for a later one',
    rule: 'once per fire',
    file: 'lock/record/fire-claim.ts',
    replacements: [['found.at < claim.at ||', 'found.at <= claim.at ||']],
  },
  {
    name: 'an earlier fire run after a later one',
    rule: 'once per fire',
    file: 'lock/record/fire-claim.ts',
    replacements: [['found.at < claim.at ||', 'found.at !== claim.at ||']],
  },
  {
    name: 'claim lost by a release',
    rule: 'once per fire',
    file: 'lock/record/lease-record.ts',
    replacements: [
      [
        '    [PARKED_UNTIL]: _until,\n    ...annotations\n',
        '    [PARKED_UNTIL]: _until,\n    [CLAIM]: _claim,\n    ...annotations\n',
      ],
    ],
  },
  {
    name: 'claim of a broken clock believed',
    rule: 'once per fire',
    file: 'lock/record/fire-claim.ts',
    replacements: [[' || found.at > claim.latest', '']],
  },
  {
    name: 'claim taken for begun by others',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/record/fire-claim.ts',
    replacements: [
      [
        "    return isLive ? { state: 'claimed', by } : { state: 'free' };",
        "    return claim.retry && !isLive\n      ? { state: 'free' }\n      : { state: claim.retry ? 'running' : 'effectiveLease', by };",
      ],
    ],
  },
  {
    name: 'work begun without a word in the record',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/hold/lease-holder.ts',
    replacements: [['this.writeRenewal(beginClaim)', 'this.writeRenewal()']],
  },
  {
    name: 'work that may have begun open to others again',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        "this.claimEnd = isTakenBack ? 'begun' : end;",
        "this.claimEnd = isTakenBack ? 'open' : end;",
      ],
    ],
  },
  {
    name: 'beginning whose answer was lost taken for that of another',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/record/fire-claim.ts',
    replacements: [
      [
        '  if (by !== undefined && claim.ownIdentities.has(by)) {',
        "  if (by === '' && claim.ownIdentities.has(by)) {",
      ],
    ],
  },
  {
    name: 'beginning whose answer was lost given up with its lock',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/acquire/begin-work.ts',
    replacements: [
      [
        '!(error instanceof LockLostError)',
        '!(error instanceof LockLostError && giveUpAt < 0)',
      ],
    ],
  },
  {
    name: 'beginning whose answer was lost given up with the wait for its lock',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/acquire/begin-work.ts',
    replacements: [['rounds === 1 ? undefined', 'rounds > 0 ? undefined']],
  },
  {
    name: 'beginning whose answer was lost given up by a shutdown',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        "      if (this.claimEnd === 'open') {\n",
        "      if (this.claimEnd !== 'done') {\n",
      ],
    ],
  },
  {
    name: 'beginning cut short by a shutdown',
    rule: 'a claim is begun before others leave the fire out',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        '    if (this.beginning) {\n',
        '    if (this.beginning && this.isReleased) {\n',
      ],
    ],
  },
  {
    name: 'claim of another holder ended',
    rule: 'a claim says what became of the work',
    file: 'lock/record/fire-claim.ts',
    replacements: [['    found.by !== lease.spec?.holderIdentity ||\n', '']],
  },
  {
    name: 'claim of a withdrawn write left standing',
    rule: 'a claim says what became of the work',
    file: 'lock/lease/withdrawal.ts',
    replacements: [["evict(endClaim(lease, 'open'))", 'evict(lease)']],
  },
  {
    name: 'work that was cut short recorded as done',
    rule: 'a claim says what became of the work',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        "this.claimEnd = isTakenBack ? 'begun' : end;",
        "this.claimEnd = isTakenBack ? 'begun' : end && 'done';",
      ],
    ],
  },
  {
    name: 'work that a shutdown has given up recorded as done',
    rule: 'a claim says what became of the work',
    file: 'lock/hold/lease-holder.ts',
    replacements: [
      [
        "this.endClaimAs(this.claimEnd === 'open' ? 'open' : 'begun');",
        "this.endClaimAs(this.claimEnd === 'open' ? 'open' : 'done');",
      ],
    ],
  },
  {
    name: 'work that is done not recorded with minHold',
    rule: 'a claim says what became of the work',
    file: 'lock/lease/free-record.ts',
    replacements: [
      ['retain(lease, rest(), clock)', 'retain(found, rest(), clock)'],
    ],
  },
  {
    name: 'work that is done not recorded by a handover',
    rule: 'a claim says what became of the work',
    file: 'lock/lease/take-record.ts',
    replacements: [['local.observed.effectiveLease;', 'local.observed.lease;']],
  },
  {
    name: 'work of the dead never taken over',
    rule: 'onFailure: retry',
    file: 'lock/record/fire-claim.ts',
    replacements: [
      ['  if (!claim.retry) {', '  if (claim.retry || by !== holder) {'],
    ],
  },
  {
    name: 'running work not followed',
    rule: 'onFailure: retry',
    file: 'lock/acquire/wait-policy.ts',
    replacements: [
      [
        "      case 'running':\n        this.isFollowing = true;",
        "      case 'running':",
      ],
    ],
  },
  {
    name: 'running work of a live holder taken for free',
    rule: 'onFailure: retry',
    file: 'lock/record/fire-claim.ts',
    replacements: [
      [
        "return isLive ? { state: 'running', by }",
        "return isLive && by === '' ? { state: 'running', by }",
      ],
    ],
  },
  {
    name: 'fire skipped for a holder that has died since its last sign of life',
    rule: 'no fire is left out for the dead',
    file: 'lock/acquire/wait-policy.ts',
    replacements: [
      [
        'claim ? aliveAt < this.startedAt : !wasSeenAlive',
        'claim && aliveAt > Infinity ? true : !wasSeenAlive',
      ],
    ],
  },
  {
    name: 'fire given up at the waitTimeout for a holder that may be dead',
    rule: 'no fire is left out for the dead',
    file: 'lock/acquire/wait-policy.ts',
    replacements: [
      [
        'return verdict.takeable || this.goOnFor(verdict);',
        'return verdict.takeable;',
      ],
    ],
  },
  {
    name: 'fire skipped for minHold that is over',
    rule: 'no fire is left out for the dead',
    file: 'lock/acquire/wait-policy.ts',
    replacements: [['return (claim?.at ?? wallTime -', 'return (wallTime -']],
  },
  {
    name: 'missed fire not made up for',
    rule: 'catchUp',
    file: 'schedule/missed-fire.ts',
    replacements: [["state !== 'effectiveLease'", "state === 'own'"]],
  },
  {
    name: 'fire that waits for as long as its holder lives',
    rule: 'waitTimeout',
    file: 'lock/acquire/wait-policy.ts',
    replacements: [['    this.isOver = true;\n', '']],
  },
  {
    name: 'fire that waits for its turn beyond the waitTimeout',
    rule: 'waitTimeout',
    file: 'lock/acquire/waiting-line.ts',
    replacements: [
      [
        'if (local.holder !== undefined && !policy.waits) {',
        'if (local.holder !== undefined && !policy.isForFire) {',
      ],
    ],
  },
];
