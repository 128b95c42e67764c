/** Deliberate breakings of how planned fires are claimed, as replacements in the source text of the engine. */
import type { Mutant } from './mutation.js';

export const CLAIM_MUTANTS: readonly Mutant[] = [
  {
    name: 'claim not written by the acquiring write',
    rule: 'once per fire',
    file: 'lock/record.ts',
    replacements: [
      [
        '...(tenure.claimed === undefined\n',
        '...(tenure.identity !== undefined\n',
      ],
      ['writeClaim(tenure.claimed, ', 'writeClaim(tenure.claimed!, '],
    ],
  },
  {
    name: 'the same fire taken for a later one',
    rule: 'once per fire',
    file: 'lock/claim.ts',
    replacements: [['found.at < claim.at ||', 'found.at <= claim.at ||']],
  },
  {
    name: 'an earlier fire run after a later one',
    rule: 'once per fire',
    file: 'lock/claim.ts',
    replacements: [['found.at < claim.at ||', 'found.at !== claim.at ||']],
  },
  {
    name: 'claim lost by a release',
    rule: 'once per fire',
    file: 'lock/record.ts',
    replacements: [
      [
        '    [PARKED_BY]: _by,\n    ...annotations\n',
        '    [PARKED_BY]: _by,\n    [CLAIM]: _claim,\n    ...annotations\n',
      ],
    ],
  },
  {
    name: 'claim of a broken clock believed',
    rule: 'once per fire',
    file: 'lock/claim.ts',
    replacements: [['    found.at > claim.latest ||\n', '']],
  },
  {
    name: 'claim of a withdrawn write left standing',
    rule: 'a claim says what became of the work',
    file: 'lock/withdrawal.ts',
    replacements: [["endClaim(lease, 'open')", "endClaim(lease, 'begun')"]],
  },
  {
    name: 'work that was cut short recorded as done',
    rule: 'a claim says what became of the work',
    file: 'lock/hold.ts',
    replacements: [["lock.endClaimAs('begun');", "lock.endClaimAs('done');"]],
  },
  {
    name: 'work that a shutdown has given up recorded as done',
    rule: 'a claim says what became of the work',
    file: 'lock/hold.ts',
    replacements: [["claim: ClaimEnd = 'begun'", "claim: ClaimEnd = 'done'"]],
  },
  {
    name: 'work that is done not recorded with minHold',
    rule: 'a claim says what became of the work',
    file: 'lock/free-record.ts',
    replacements: [['park(lease, rest, clock)', 'park(found, rest, clock)']],
  },
  {
    name: 'work that is done not recorded by a handover',
    rule: 'a claim says what became of the work',
    file: 'lock/take-record.ts',
    replacements: [['cell.observation.settled;', 'cell.observation.lease;']],
  },
  {
    name: 'work of the dead never taken over',
    rule: 'onFailure: retry',
    file: 'lock/claim.ts',
    replacements: [
      ['  if (!claim.retry) {', '  if (!claim.retry || by !== self) {'],
    ],
  },
  {
    name: 'running work not followed',
    rule: 'onFailure: retry',
    file: 'lock/lock-engine.ts',
    replacements: [
      [
        "          error.verdict.state !== 'running'\n",
        "          error.verdict.state !== ('never' as never)\n",
      ],
    ],
  },
  {
    name: 'running work of a live holder taken for free',
    rule: 'onFailure: retry',
    file: 'lock/claim.ts',
    replacements: [
      [
        'return by !== undefined && by === holder',
        'return by !== undefined && by === self',
      ],
    ],
  },
];
