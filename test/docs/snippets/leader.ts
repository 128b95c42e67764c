/** Runs the examples of leader election. */
import type { Type } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { expect } from 'vitest';
import { LockService } from '../../../lib/index.js';
import {
  getLeaderElectionToken,
  LeaderElectionModule,
  LeaderHealthIndicator,
  type LeaderElection,
} from '../../../lib/leader/index.js';
import { startLockApp } from '../../decorators/lock-app.js';
import { alertSomebody, importRows, writePage } from '../your-code.js';
import { startCluster, startPod } from './set-up.js';
import type { SnippetTest } from './snippet-test.js';

const ELECTION = getLeaderElectionToken('dispatcher');

export const leader: Record<string, SnippetTest> = {
  leader: async (load) => {
    await using _ = await startCluster();
    const { AppModule, Dispatcher } = await load<{
      AppModule: Type;
      Dispatcher: Type<{ refresh(): Promise<void> }>;
    }>();
    const one = await startPod(AppModule);
    const election = one.get<LeaderElection>(ELECTION);
    const { leadership } = election;
    const token =
      leadership?.fencingToken ??
      (await election.whenLeader((_signal, term) => term.fencingToken));
    const two = await startPod(AppModule);
    await two.get(Dispatcher).refresh();
    expect(importRows).not.toHaveBeenCalled();
    await one.get(Dispatcher).refresh();
    expect(importRows).toHaveBeenCalledTimes(1);
    await one.close();
    expect(writePage.mock.calls.slice(0, 2)).toEqual([
      ['1', token],
      ['2', token],
    ]);
    expect(alertSomebody).toHaveBeenCalledWith(
      'no longer the dispatcher: shutdown',
    );
    await two.get<LeaderElection>(ELECTION).whenLeader(() => undefined);
    await two.close();
  },

  'leader-async': async (load) => {
    await using _ = await startCluster({ LEADER_NAMESPACE: 'leaders' });
    const { AppModule } = await load<{ AppModule: Type }>();
    const pod = await startPod(AppModule);
    const locks = pod.get(LockService);
    const state = await pod
      .get<LeaderElection>(ELECTION)
      .whenLeader(() => locks.inspect('dispatcher', { namespace: 'leaders' }));
    expect(state).toMatchObject({ state: 'held' });
    await pod.close();
  },

  'when-leader': async (load) => {
    const { Migrations } = await load<{
      Migrations: Type<{ run(): Promise<string[]> }>;
    }>();
    await using fixture = await startLockApp({
      imports: [LeaderElectionModule.forFeature('dispatcher')],
      providers: [Migrations],
    });
    expect(await fixture.app.get(Migrations).run()).toEqual(
      await importRows({}),
    );
  },

  'leader-health': async (load) => {
    const { HealthController } = await load<{ HealthController: Type }>();
    await using fixture = await startLockApp({
      imports: [LeaderElectionModule.forFeature('dispatcher'), TerminusModule],
      controllers: [HealthController],
      providers: [LeaderHealthIndicator],
    });
    await fixture.app.get<LeaderElection>(ELECTION).whenLeader(() => undefined);
    const answer = await fixture.request('health/leader');
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({
      info: { dispatcher: { status: 'up', isLeader: true } },
    });
  },
};
