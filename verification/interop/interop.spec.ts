/** This package, client-go and k8slock on one Lease: nobody overlaps with ours, and all get their turns. */
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { breakBuild } from '../faults/broken-build.js';
import { buildFolder } from '../../test/support/build-folder.js';
import { describeInterop } from './describe-interop.js';
import { tableOf } from './figures.js';
import { BROKEN_RULE, CONTROL, MEETINGS, type Meeting } from './meetings.js';
import { findFaults, runMeetings, type Outcome } from './outcome.js';

/** The program of this suite takes longer. */
const TIME = { seconds: 5, turnTimeout: 60 };

describeInterop('interoperation on one Lease', (interop) => {
  const outcomes = new Map<Meeting, Outcome>();
  let broken: Outcome;

  beforeAll(async () => {
    const build = buildFolder();
    const { binary, kubeConfigYaml, namespace } = interop;
    const setting = { binary, kubeConfigYaml, namespace };
    const meetings = [...MEETINGS, CONTROL];
    const [all, [ofBroken]] = await Promise.all([
      runMeetings(meetings, { ...setting, build }, TIME),
      breakCopy(build, 'acquireTime left standing').then((copy) =>
        runMeetings([BROKEN_RULE], { ...setting, build: copy }, TIME),
      ),
    ]);
    meetings.forEach((meeting, index) => outcomes.set(meeting, all[index]!));
    broken = ofBroken!;
    process.stdout.write(`${tableOf([...all, broken])}\n`);
  });

  it.each(MEETINGS)('keeps out, lets in and survives: $title', (meeting) => {
    expect(findFaults(outcomes.get(meeting)!)).toEqual([]);
  });

  it('would find an overlap: renewals that leave acquireTime as it is, beside k8slock', () => {
    const robbers = broken.overlapsWithOurs.map(({ later }) => later.process);
    expect(robbers).toContain('k8slock');
  });
});

/** @returns the folder of a build in which one rule is broken */
async function breakCopy(build: string, mutant: string): Promise<string> {
  const copy = join(build, 'verification/interop/broken');
  await mkdir(copy);
  const parts = [
    'package.json',
    'dist',
    'verification/interop/programs',
    'verification/processes',
    'verification/beliefs',
    'test/mutants',
    'test/lock',
  ];
  await Promise.all(
    parts.map((part) =>
      cp(join(build, part), join(copy, part), { recursive: true }),
    ),
  );
  await breakBuild(copy, mutant);
  return copy;
}
