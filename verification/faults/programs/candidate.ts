/** One candidate in a worker: runs for the election, works while it leads, steps down, and runs again. */
import { Inject, Module, type Type } from '@nestjs/common';
import { LockService } from 'nestjs-k8s-lock';
import {
  InjectLeaderElection,
  LeaderElection,
  LeaderElectionModule,
  OnElected,
  type Leadership,
} from 'nestjs-k8s-lock/leader';
import type { Random } from '../../simulation/random.js';
import { drawDuration, HeldBelief, type Surroundings } from './held-belief.js';
import type { ElectionProfile, Mode } from './messages.js';

export class Candidate {
  private mode: Mode = 'rest';

  constructor(
    private readonly surroundings: Surroundings,
    private readonly profile: ElectionProfile,
    private readonly random: Random,
  ) {}

  turnTo(mode: Mode): void {
    this.mode = mode;
  }

  /** To be imported by the application. */
  module(): Type {
    const lead = this.lead.bind(this);
    const { name, leaseDuration } = this.profile;

    class Office {
      private holder = '';

      constructor(
        @InjectLeaderElection(name) private readonly election: LeaderElection,
        @Inject(LockService) locks: LockService,
      ) {
        locks.events$.subscribe((event) => {
          if (event.type === 'acquired' && event.name === name) {
            this.holder = event.holder;
          }
        });
      }

      @OnElected(name)
      lead(leadership: Leadership): Promise<void> {
        return lead(leadership, this.election, this.holder);
      }
    }

    @Module({
      imports: [LeaderElectionModule.forFeature(name, { leaseDuration })],
      providers: [Office],
    })
    // oxlint-disable-next-line typescript/no-extraneous-class -- what a module has is in its decorator
    class OfficeModule {}
    return OfficeModule;
  }

  /** @throws Error to step down */
  private async lead(
    leadership: Leadership,
    election: LeaderElection,
    holderIdentity: string,
  ): Promise<void> {
    const { profile, random, surroundings } = this;
    const { signal, fencingToken } = leadership;
    const belief = HeldBelief.in(
      {
        name: profile.name,
        leaseName: profile.name,
        holderIdentity,
        fencingToken,
        signal,
        get isHeld() {
          const { isLeader, leadership: present } = election;
          return (
            leadership.isHeld ||
            (isLeader && present?.fencingToken === fencingToken)
          );
        },
      },
      surroundings,
      { mode: () => this.mode, random },
    );
    const duration = drawDuration(random);
    do {
      // oxlint-disable-next-line no-await-in-loop -- it leads on while there is nothing to do
      await belief?.work(duration);
    } while (this.mode === 'rest' && leadership.isHeld);
    if (this.mode === 'calm' && leadership.isHeld) {
      surroundings.tell({ type: 'served', lock: profile.name });
    }
    throw new Error('it steps down');
  }
}
