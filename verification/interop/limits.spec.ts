/** What docs/interop.md says of the limits beside client-go and k8slock: that each is one, and that its remedy helps. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { FaultLink } from '../faults/fault-link.js';
import { startLocker, type Locker } from '../processes/lockers.js';
import type { Contender } from './contender.js';
import { describeInterop } from './describe-interop.js';
import { ALWAYS, PeerProcesses, timeOf } from './peer-processes.js';

vi.setConfig({ maxConcurrency: 20 });

const CLIENT_GO = {
  leaseDuration: 3_000,
  renewDeadline: 2_000,
  retryPeriod: 500,
  releaseOnCancel: true,
};
const EAGER = { clientGo: { ...CLIENT_GO, retryPeriod: 20 } };
const AHEAD = { k8slock: { ttl: 3_000, retryWait: 20, clockAhead: 1_000 } };

/** Ours is cut off, and gives up by itself at its deadline: before the other takes over, or not. */
const CUT_OFF = [
  { peer: EAGER, beside: 'client-go' },
  { peer: AHEAD, beside: 'k8slock' },
].flatMap((each) =>
  [
    { leaseDuration: 2_000, safetyMargin: 0, overlaps: true },
    { leaseDuration: 4_000, safetyMargin: 1_400, overlaps: false },
  ].map((options) => ({
    ...each,
    ...options,
    lock: `${each.beside}-${options.safetyMargin}`,
  })),
);
/** The lock whose renewals tell when to cut. */
const STRICTEST = 'client-go-0';

const RENEW_INTERVAL = 100;
/** Renewals before the cut: by then the peers wait. */
const RENEWALS = 20;
/** The part of a second, in milliseconds, after which its last renewal is to be. */
const LATE = 700;

describeInterop('the limits beside client-go and k8slock', (interop) => {
  const processes = new PeerProcesses(interop);
  const links: FaultLink[] = [];
  const peers = new Map<string, Contender>();
  let cutOff: Locker;
  let ours: Locker;

  /** A way to the API server that can be cut. */
  const openLink = async (): Promise<[FaultLink, string]> => {
    const { link, kubeConfig } = await FaultLink.openTo(interop.kubeConfigYaml);
    links.push(link);
    return [link, kubeConfig.exportConfig()];
  };

  /** Cuts it just after the last of several renewals in one second by the wall clock. */
  const cut = async (link: FaultLink): Promise<void> => {
    for (;;) {
      // oxlint-disable no-await-in-loop -- one second after the other
      await cutOff.nextEvent('renewed', { name: STRICTEST });
      if (Date.now() % 1_000 > LATE) {
        link.requests.hold();
        const { renewTime } = await processes.specOf(STRICTEST);
        if (timeOf(renewTime) % 1_000 > LATE) {
          return;
        }
        link.heal();
      }
      // oxlint-enable no-await-in-loop
    }
  };

  beforeAll(async () => {
    const { kubeConfigYaml, namespace } = interop;
    const [link, linkedYaml] = await openLink();
    cutOff = processes.own(
      await startLocker({ kubeConfigYaml: linkedYaml, namespace }),
    );
    ours = processes.own(await startLocker({ kubeConfigYaml, namespace }));
    for (const { lock, peer, leaseDuration, safetyMargin } of CUT_OFF) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other will do
      await cutOff.call('acquire', lock, {
        leaseDuration,
        safetyMargin,
        renewInterval: RENEW_INTERVAL,
      });
      peers.set(lock, processes.start(lock, peer, ALWAYS));
    }
    for (let renewals = 0; renewals < RENEWALS; renewals += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await cutOff.nextEvent('renewed', { name: STRICTEST });
    }
    await cut(link);
  });
  afterAll(async () => {
    links.forEach((link) => link.close());
    await processes[Symbol.asyncDispose]();
  });

  it.concurrent.each(CUT_OFF)(
    'ours that is cut off beside $beside: a lease of $leaseDuration ms, a margin of $safetyMargin ms',
    async ({ lock, overlaps }) => {
      const { abortedAt, lossReason } = await cutOff.call('loss', lock);
      const { from: takenAt } = await peers.get(lock)!.acquired();
      expect(lossReason).toBe('deadline');
      expect(takenAt < abortedAt).toBe(overlaps);
    },
  );

  it.concurrent.each([
    { renewDeadline: 2_000, leadsOn: true, event: 'lost', reason: 'freed' },
    { renewDeadline: 1_000, leadsOn: false, event: 'renewed' },
  ])(
    'client-go that is cut off, with a RenewDeadline of $renewDeadline ms: the lock of ours is $event',
    async ({ renewDeadline, leadsOn, event, reason }) => {
      const lock = `release-${renewDeadline}`;
      const [link, linkedYaml] = await openLink();
      const clientGo = { ...CLIENT_GO, renewDeadline };
      const peer = processes.start(lock, { clientGo }, ALWAYS, linkedYaml);
      await peer.acquired();
      const { leaseDuration } = CLIENT_GO;
      const taken = ours.call('acquire', lock, { leaseDuration });
      await ours.event('waiting', { name: lock });
      link.requests.hold();
      const { at: takenAt } = await taken;
      link.heal();
      const { to: ledUntil, how } = await peer.ended();
      expect(how).toBe('lost');
      expect(ledUntil > takenAt).toBe(leadsOn);
      const next = await ours.event(event, { name: lock });
      expect(next.reason).toBe(reason);
    },
  );
});
