/** What a replica tells its parent: who waits for a lock, and who has stopped waiting since the client is gone. */
import type { INestApplication } from '@nestjs/common';
import { LockService } from 'nestjs-k8s-lock';
import { tellParent } from '../../stage/parent.js';

export interface Report {
  readonly type: 'waiting' | 'cancelled';
  readonly lock: string;
}

export function reportWaits(app: INestApplication): void {
  app.get(LockService).events$.subscribe((event) => {
    if (event.type === 'waiting') {
      send({ type: 'waiting', lock: event.name });
    } else if (event.type === 'not-acquired' && event.reason === 'cancelled') {
      send({ type: 'cancelled', lock: event.name });
    }
  });
}

function send(report: Report): void {
  tellParent(report);
}
