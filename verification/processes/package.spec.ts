/** Shows what the built package costs a process: what it loads, what it sends, and over how many connections. */
import { expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { startLocker } from './lockers.js';
import type { ImporterCalls } from './programs/importer.js';
import { TestProcess } from './test-process.js';

const CYCLES = 1_000;

it('is one instance for import and require, also when Nest is imported at the same time', async () => {
  await using importer = await TestProcess.start<ImporterCalls>(
    'verification/processes/programs/importer',
  );
  expect(await importer.call('findTwins')).toEqual([]);
});

it('does not load @kubernetes/client-node before it is needed', async () => {
  await using importer = await TestProcess.start<ImporterCalls>(
    'verification/processes/programs/importer',
  );
  expect(await importer.call('importPackage')).toContain('LockService');
  expect(await importer.call('importTesting')).toContain('LeaseApiServer');
  expect(await importer.call('inspectWithConfig')).toBe('free');
  // The ban works.
  await expect(importer.call('inspectWithout')).rejects.toThrow(
    'client-node was loaded',
  );
});

it('works with locks in memory without @kubernetes/client-node and without a connection', async () => {
  await using importer = await TestProcess.start<ImporterCalls>(
    'verification/processes/programs/importer',
  );
  expect(await importer.call('workInMemory')).toEqual([
    'acquired',
    'lost',
    'released',
  ]);
});

describeOnServer('1,000 cycles of a lock', (server) => {
  it('take two requests each, over at most 3 connections', async () => {
    const { kubeConfigYaml, embedded } = server;
    await using locker = await startLocker({ kubeConfigYaml });
    const sent = await locker.call('cycle', 'cycled', CYCLES);
    // The first acquisition is a cold one.
    expect(sent.requests).toBe(2 * CYCLES + 1);
    expect(sent.connections).toBeLessThanOrEqual(3);
    const { requests, connections } = embedded ?? {};
    expect(requests?.count() ?? sent.requests).toBe(sent.requests);
    expect(connections?.accepted ?? 1).toBeLessThanOrEqual(3);
  });
});
