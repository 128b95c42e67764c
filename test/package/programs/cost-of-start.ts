/** Prints the milliseconds of CPU time that locks in memory add to the start of an application: by the best of many starts. */
import type { DynamicModule } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { K8sLockTestingModule } from 'nestjs-k8s-lock/testing';

async function costOfStart(imports: DynamicModule[]): Promise<number> {
  const before = process.cpuUsage();
  const module = await Test.createTestingModule({ imports }).compile();
  await module.init();
  const { user, system } = process.cpuUsage(before);
  await module.close();
  return (user + system) / 1_000;
}

const without: number[] = [];
const within: number[] = [];
for (let round = 0; round < 30; round += 1) {
  // oxlint-disable no-await-in-loop -- one after the other
  without.push(await costOfStart([]));
  within.push(await costOfStart([K8sLockTestingModule.forRoot()]));
  // oxlint-enable no-await-in-loop
}
console.log(Math.min(...within) - Math.min(...without));
