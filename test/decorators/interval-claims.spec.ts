/** The fires of an interval with a fraction of a millisecond can be claimed. */
import { expect, it } from 'vitest';
import { fireAt, planOfInterval } from '../../lib/schedule/planned-fires.js';
import {
  judgeClaim,
  writeClaim,
  CLAIM,
} from '../../lib/lock/record/fire-claim.js';

it.each([66_000, 4.1 * 60_000, 1.1 * 3_600_000, 1_000 / 3])(
  'a fire of an interval of %d ms is claimed once',
  (period) => {
    for (let minute = 0; minute < 100; minute += 1) {
      const now = Date.parse('2026-01-01T00:00:01Z') + minute * 61_234;
      const fire = fireAt(planOfInterval(period), now)!;
      const lease = {
        metadata: {
          name: 'x',
          uid: 'u',
          resourceVersion: '1',
          annotations: { [CLAIM]: writeClaim(fire.at, 'a_1', 'done') },
        },
      };
      const claim = { ...fire, retry: false, ownIdentities: new Set<string>() };
      expect(judgeClaim(claim, lease, undefined).state).toBe('taken');
    }
  },
);
