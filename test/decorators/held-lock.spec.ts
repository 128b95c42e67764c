/** @HeldLock fills a parameter with the lock of the call. */
import { Injectable } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  currentLock,
  HeldLock,
  LockConfigurationError,
  WithLeaseLock,
  type LeaseLock,
} from '../../lib/index.js';
import { startLockApp, type LockApp } from './lock-app.js';

@Injectable()
class Reports {
  @WithLeaseLock('nightly')
  async nightly(@HeldLock() lock?: LeaseLock) {
    return [lock?.name, lock === currentLock()];
  }

  @WithLeaseLock((day: string) => `daily-${day}`)
  async daily(day: string, @HeldLock() lock?: LeaseLock, pages?: number) {
    return [day, lock?.name, pages];
  }

  @WithLeaseLock('outer')
  @WithLeaseLock('inner')
  async twice(@HeldLock() first?: LeaseLock, @HeldLock() second?: LeaseLock) {
    return [first?.name, second?.name];
  }
}

@Injectable()
class OtherReports extends Reports {
  /** Has parameters of its own: those of the method it overrides do not count. */
  @WithLeaseLock('other')
  override async nightly(lock?: LeaseLock) {
    return [lock?.name, lock !== undefined];
  }
}

let fixture: LockApp;

beforeAll(async () => {
  fixture = await startLockApp({ providers: [Reports, OtherReports] });
});
afterAll(() => fixture[Symbol.asyncDispose]());

describe('@HeldLock', () => {
  it('fills its parameter, given or not', async () => {
    const reports = fixture.app.get(Reports);
    const other = await fixture.others.acquire('something-else');
    expect(await reports.nightly()).toEqual(['nightly', true]);
    expect(await reports.nightly(other)).toEqual(['nightly', true]);
    await other.release();
  });

  it('leaves the other parameters alone', async () => {
    const reports = fixture.app.get(Reports);
    expect(await reports.daily('monday', undefined, 3)).toEqual([
      'monday',
      'daily-monday',
      3,
    ]);
  });

  it('gives the innermost lock', async () => {
    expect(await fixture.app.get(Reports).twice()).toEqual(['inner', 'inner']);
  });

  it('does not reach an override', async () => {
    expect(await fixture.app.get(OtherReports).nightly()).toEqual([
      undefined,
      false,
    ]);
  });

  it('without @WithLeaseLock keeps the application from starting', async () => {
    @Injectable()
    class Unlocked {
      async run(@HeldLock() lock?: LeaseLock) {
        return lock;
      }
    }
    class Inherits extends Unlocked {}
    class Fine extends Unlocked {
      override async run() {
        return undefined;
      }
    }
    const start = startLockApp({ providers: [Unlocked, Inherits, Fine] });
    await expect(start).rejects.toThrow(LockConfigurationError);
    await expect(start).rejects.toMatchObject({
      faults: ['Unlocked', 'Inherits'].map(
        (name) =>
          `${name}.run: a parameter under @HeldLock() needs @WithLeaseLock() on the method`,
      ),
    });
  });

  it.each([
    [undefined, 'a parameter of Reports.constructor'],
    ['make', 'a parameter of Reports.make'],
  ])('is refused on a constructor and a static method', (key, what) => {
    const decorate = () => HeldLock()(Reports, key, 0);
    expect(decorate).toThrow(LockConfigurationError);
    expect(decorate).toThrow(`@HeldLock() cannot be applied to ${what}`);
  });
});
