/** A leader shuts down while another process contends, as in a rolling update; of this package, and of client-go. */
import { setTimeout as sleep } from 'node:timers/promises';
import { findOverlaps } from '../../verification/beliefs/overlaps.js';
import { Contender } from '../../verification/interop/contender.js';
import { percentile, type Row } from '../report.js';
import type { Bench, Setting } from '../setting.js';

const LEASE = 15_000;
const LOCK = 'controller';
/** Milliseconds in which a process has started, and contends. */
const START = 4_000;
const FOR_EVER = 3_600_000;

type Start = (name: string, lock: string) => Contender;

export const leader: Bench = {
  about:
    'The leader shuts down while the next one contends, with the election of this package and with that of client-go.',

  async run(setting) {
    const rows: Row[] = [];
    const faults: string[] = [];
    for (const [election, start] of elections(setting)) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other: each has the machine for itself
      const { changes, wrong } = await changeLeaders(
        (name) => start(name, `${LOCK}-${rows.length}`),
        setting.options.quick ? 3 : 20,
      );
      rows.push({
        election,
        changes: changes.length,
        'p50 ms': percentile(changes, 0.5),
        'p99 ms': percentile(changes, 0.99),
      });
      faults.push(...wrong);
    }
    const title = 'From the end of one leadership to the next one';
    return { tables: [{ title, rows }], targets: [], faults };
  },
};

function elections(setting: Setting): [string, Start][] {
  const { build, kubeConfigYaml, namespace, peers } = setting;
  const inGo =
    (retryPeriod: number): Start =>
    (name, lock) =>
      Contender.peer(peers, {
        name,
        lock,
        kubeConfigYaml,
        namespace,
        clientGo: {
          leaseDuration: LEASE,
          renewDeadline: 10_000,
          retryPeriod,
          releaseOnCancel: true,
        },
        hold: [FOR_EVER, FOR_EVER],
        rest: [0, 0],
      });
  return [
    [
      'nestjs-k8s-lock',
      (name, lock) =>
        Contender.leader(build, {
          name,
          lock,
          kubeConfigYaml,
          namespace,
          leaseDuration: LEASE,
          safetyMargin: LEASE / 10,
        }),
    ],
    ['client-go, 2 s retry (its default)', inGo(2_000)],
    ['client-go, 100 ms retry', inGo(100)],
  ];
}

async function changeLeaders(
  start: (name: string) => Contender,
  times: number,
): Promise<{ changes: number[]; wrong: string[] }> {
  const all = [start('process-0')];
  const changes: number[] = [];
  const wrong: string[] = [];
  for (let number = 1; number <= times; number += 1) {
    const last = all.at(-1)!;
    const next = start(`process-${number}`);
    all.push(next);
    // oxlint-disable no-await-in-loop -- one leader after the other
    await Promise.all([last.acquired(), sleep(START)]);
    const finished = last.finish();
    const { from } = await next.acquired();
    wrong.push(...(await finished));
    // oxlint-enable no-await-in-loop
    changes.push(from - last.beliefs()[0]!.to);
  }
  wrong.push(...(await all.at(-1)!.finish()));
  const overlaps = findOverlaps(all.flatMap((each) => each.beliefs()));
  wrong.push(
    ...overlaps.map(
      ({ earlier, later }) => `${earlier.process} and ${later.process} led`,
    ),
  );
  return { changes, wrong };
}
