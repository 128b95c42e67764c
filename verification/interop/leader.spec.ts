/** Elections of this package and of client-go on one Lease: one leader at a time, whoever it is, and however its time ends. */
import { afterAll, expect, it } from 'vitest';
import { buildFolder } from '../../test/support/build-folder.js';
import { findOverlaps } from '../beliefs/overlaps.js';
import { Contender } from './contender.js';
import { describeInterop } from './describe-interop.js';
import { PeerProcesses, timeOf } from './peer-processes.js';

const LOCK = 'controller';
const LEASE = 4_000;
/** As docs/interop.md says for a lease of less than 10 s. */
const OURS = { leaseDuration: LEASE, safetyMargin: LEASE / 10 + 1_000 };
const CLIENT_GO = {
  clientGo: {
    leaseDuration: LEASE,
    renewDeadline: 1_500,
    retryPeriod: 200,
    releaseOnCancel: true,
  },
};

describeInterop('one leader among ours and client-go', (interop) => {
  const processes = new PeerProcesses(interop);
  afterAll(() => processes[Symbol.asyncDispose]());

  const startOurs = (name: string): Contender => {
    const { kubeConfigYaml, namespace } = interop;
    const options = { name, kubeConfigYaml, namespace, lock: LOCK, ...OURS };
    return processes.own(Contender.leader(buildFolder(), options));
  };

  it('changes by shutdown, by death, and by the release of the other, without an overlap', async () => {
    const closing = startOurs('closing');
    await closing.acquired();
    const doomed = startOurs('doomed');
    const inGo = processes.start(LOCK, CLIENT_GO, {
      hold: [1_500, 1_500],
      rest: [2_000, 2_000],
    });

    // It closes: the next one leads, of ours or of theirs, and ours when theirs has had its time.
    expect(await closing.finish()).toEqual([]);
    await doomed.acquired();

    // It dies: theirs leads, not before the duration in the record.
    const killed = await doomed.kill();
    const before = await processes.specOf(LOCK);
    const heir = await inGo.acquiredAfter(killed);
    const after = await processes.specOf(LOCK);
    expect(timeOf(after.acquireTime)).toBeGreaterThanOrEqual(
      timeOf(before.renewTime) + LEASE,
    );

    // Theirs ends its time: ours leads.
    const last = startOurs('last');
    const lead = await last.acquired();
    expect(lead.from).toBeGreaterThanOrEqual(heir.from);
    expect(await last.finish()).toEqual([]);
    expect(await inGo.finish()).toEqual([]);

    const all = [closing, doomed, inGo, last].map((each) => each.beliefs());
    expect(findOverlaps(all.flat())).toEqual([]);
    expect(all.map((beliefs) => beliefs.length > 0)).not.toContain(false);
    const ends = [closing, doomed, last].map((each) => each.beliefs()[0]?.how);
    expect(ends).toEqual(['released', 'died', 'released']);
  });
});
