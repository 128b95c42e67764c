/** Shows that a lock lets one process at a time through, and that its tokens tell in which order. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { RawApi } from '../../test/contract/raw-api.js';
import type { CounterCalls, Increment } from './programs/counter.js';
import { TestProcess } from './test-process.js';

const PROGRAM = 'verification/processes/programs/counter';
const PROCESSES = 4;
/** What each process believes the time to be; no two agree. */
const HOURS_OFF = [0, 5, -7, 1_000];

type CounterProcess = TestProcess<CounterCalls>;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nestjs-k8s-lock-counters-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function newCounter(name: string): string {
  const file = join(folder, name);
  writeFileSync(file, '0');
  return file;
}

const valueOf = (file: string): number => Number(readFileSync(file, 'utf8'));

function startProcesses(): Promise<CounterProcess[]> {
  return Promise.all(
    Array.from({ length: PROCESSES }, () =>
      TestProcess.start<CounterCalls>(PROGRAM),
    ),
  );
}

async function endProcesses(processes: CounterProcess[]): Promise<void> {
  await Promise.all(processes.map((each) => each[Symbol.asyncDispose]()));
}

function tokensInOrder(increments: Increment[]): (bigint | undefined)[] {
  return increments
    .toSorted((a, b) => a.read - b.read)
    .map(({ token }) => token);
}

/** Strictly. */
function isIncreasing(tokens: (bigint | undefined)[]): boolean {
  return tokens.every(
    (token, index) =>
      token !== undefined && (index === 0 || token > tokens[index - 1]!),
  );
}

describeOnServer('mutual exclusion between processes', (server) => {
  let processes: CounterProcess[];
  beforeAll(async () => {
    processes = await startProcesses();
    const { kubeConfigYaml } = server;
    await Promise.all(
      processes.map((each, index) =>
        each.call('open', { kubeConfigYaml }, HOURS_OFF[index]),
      ),
    );
  });
  afterAll(() => endProcesses(processes));

  it('counts exactly, with tokens that strictly increase', async () => {
    const file = newCounter(`${server.kind}-counter`);
    const results = await Promise.all(
      processes.map((each) =>
        each.call('count', {
          counter: { file, lock: 'counter' },
          times: 50,
          pause: 'random',
        }),
      ),
    );
    const increments = results.flat();
    expect(valueOf(file)).toBe(PROCESSES * 50);
    expect(new Set(increments.map(({ read }) => read)).size).toBe(
      PROCESSES * 50,
    );
    expect(tokensInOrder(increments)).toSatisfy(isIncreasing);
  });

  it('counts exactly however 8 workers take 2 locks', async () => {
    const counters = ['fuzz-a', 'fuzz-b'].map((lock) => ({
      lock,
      file: newCounter(`${server.kind}-${lock}`),
    }));
    const times = 40;
    const seed = Date.now() % 100_000;
    const results = await Promise.all(
      processes.map((each, index) =>
        each.call('fuzz', {
          seed: seed + index,
          counters,
          workers: 2,
          times,
        }),
      ),
    );
    const counted = counters.map(({ file }) =>
      results.reduce((sum, counts) => sum + (counts[file] ?? 0), 0),
    );
    expect(counted[0]! + counted[1]!).toBe(PROCESSES * 2 * times);
    expect(
      counters.map(({ file }) => valueOf(file)),
      `seed ${seed}`,
    ).toEqual(counted);
  });

  it('goes on with greater tokens after its Lease was deleted', async () => {
    const api = new RawApi(server.kubeConfigYaml);
    const path = RawApi.leases(server.namespace, 'deleted');
    const file = newCounter(`${server.kind}-deleted`);
    const increments: Increment[] = [];
    for (const each of [...processes, ...processes]) {
      increments.push(
        ...(await each.call('count', {
          counter: { file, lock: 'deleted' },
          times: 2,
          pause: 'random',
        })),
      );
      expect(await api.request('DELETE', path)).toMatchObject({ code: 200 });
    }
    expect(tokensInOrder(increments)).toSatisfy(isIncreasing);
  });
});

describe('the proof of mutual exclusion itself', () => {
  it('fails without the lock', async () => {
    const processes = await startProcesses();
    const file = newCounter('unprotected');
    const rounds = 5;
    for (let round = 0; round < rounds; round += 1) {
      const counts = processes.map((each) =>
        each.call('count', { counter: { file }, times: 1, pause: 'together' }),
      );
      await Promise.all(processes.map((each) => each.nextEvent('read')));
      // All have read and none has written: all increments of this round but one are lost.
      await Promise.all(processes.map((each) => each.call('goOn')));
      await Promise.all(counts);
    }
    await endProcesses(processes);
    expect(valueOf(file)).toBe(rounds);
  });
});
