/** Runs the examples of semaphores. */
import type { Type } from '@nestjs/common';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { expect, vi } from 'vitest';
import {
  LockNotAcquiredError,
  type SemaphoreState,
} from '../../../lib/index.js';
import { defer, startLockApp } from '../../decorators/lock-app.js';
import { eventually } from '../../support/eventually.js';
import { ConfigService, importRows, sendReminders } from '../your-code.js';
import type { SnippetTest, Statements } from './snippet-test.js';

export const semaphores: Record<string, SnippetTest> = {
  semaphore: async (load) => {
    const { Importer } = await load<{ Importer: Type<{ run(): unknown }> }>();
    await using fixture = await startLockApp({ providers: [Importer] });
    const end = defer();
    importRows.mockImplementation(() => end.promise.then(() => []));
    const importer = fixture.app.get(Importer);
    const runs = [1, 2, 3, 4].map(() => importer.run());
    await eventually(() => expect(importRows).toHaveBeenCalledTimes(3));
    expect(
      await fixture.others.tryAcquire('import', { permits: 3 }),
    ).toBeUndefined();
    end.resolve();
    await Promise.all(runs);
    expect(importRows).toHaveBeenCalledTimes(4);
  },

  'semaphore-method': async (load) => {
    const { Reminders } = await load<{
      Reminders: Type<{ send(): unknown }>;
    }>();
    await using fixture = await startLockApp({ providers: [Reminders] });
    sendReminders.mockResolvedValue({ sent: 1 });
    const others = fixture.others.semaphore('reminders', { permits: 3 });
    await others.acquire();
    await others.acquire();
    const reminders = fixture.app.get(Reminders);
    expect(await reminders.send()).toEqual({ sent: 1 });
    await others.acquire();
    await expect(reminders.send()).rejects.toThrow(LockNotAcquiredError);
  },

  'semaphore-config': async (load) => {
    const { Exporter } = await load<{ Exporter: Type<{ run(): unknown }> }>();
    vi.stubEnv('EXPORT_PERMITS', '2');
    await using fixture = await startLockApp({
      providers: [Exporter, ConfigService],
    });
    vi.unstubAllEnvs();
    const end = defer();
    importRows.mockImplementation(() => end.promise.then(() => []));
    const exporter = fixture.app.get(Exporter);
    const runs = [1, 2, 3].map(() => exporter.run());
    await eventually(() => expect(importRows).toHaveBeenCalledTimes(2));
    expect(
      await fixture.others.tryAcquire('export', { permits: 2 }),
    ).toBeUndefined();
    end.resolve();
    await Promise.all(runs);
  },

  'semaphore-schedule': async (load) => {
    const { Probes } = await load<{ Probes: Type }>();
    const metadata = {
      imports: [ScheduleModule.forRoot()],
      providers: [Probes],
    };
    await using one = await startLockApp(metadata);
    const { server } = one;
    await using two = await startLockApp(metadata, { server });
    await using three = await startLockApp(metadata, { server });
    const end = defer();
    importRows.mockImplementation(() => end.promise.then(() => []));
    const skipped = [one, two, three].map(({ locks }) => {
      const seen: string[] = [];
      locks.events$.subscribe(({ type }) => seen.push(type));
      return seen;
    });
    for (const { app } of [one, two, three]) {
      const [job] = app.get(SchedulerRegistry).getCronJobs().values();
      void job!.fireOnTick();
    }
    await eventually(() => {
      expect(importRows).toHaveBeenCalledTimes(2);
      expect(skipped.flat()).toContain('skipped');
    });
    end.resolve();
  },

  'semaphore-inspect': async (load) => {
    const program = await load<Statements<SemaphoreState>>();
    await using fixture = await startLockApp({});
    const log = vi.spyOn(console, 'log').mockReturnValue();
    const others = fixture.others.semaphore('import', { permits: 3 });
    const locks = await Promise.all([1, 2, 3].map(() => others.acquire()));
    const bySlot = locks.toSorted((a, b) => a.slot! - b.slot!);
    await program.default(fixture.locks);
    expect(log.mock.calls).toEqual([
      ['3 of 3 permits are held'],
      ...bySlot.map(({ leaseName, holderIdentity }) => [
        leaseName,
        holderIdentity,
      ]),
    ]);
    expect(await others.inspect()).toMatchObject({ held: 2 });
  },
};
