/**
 * The alerts and the dashboard of `deploy/` on a real Prometheus: each alert by promtool's unit tests and once by a
 * fault, and each query of the dashboard on what the application really emits.
 */
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LeaseLock } from '../../lib/index.js';
import { LIVELY } from '../../test/decorators/lock-app.js';
import {
  ALERTS,
  readAlerts,
  readDashboard,
} from '../../test/deploy/observability.js';
import { eventually } from '../../test/support/eventually.js';
import { describeOnServer } from '../../test/api-servers.js';
import { startObservedApp, type ObservedApp } from './observed-app.js';
import { Prometheus, promtool, type Alert } from './prometheus.js';

/** A holder that shows quickly that it is alive, and outlives a pause of this machine. */
const STEADY = { renewInterval: 50 };

const RULES = fileURLToPath(ALERTS);
const UNIT_TESTS = fileURLToPath(new URL('alerts.test.yaml', import.meta.url));

describe('promtool', () => {
  it('finds no fault in the rules', async () => {
    expect(await promtool(['check', 'rules', RULES], tmpdir())).toContain(
      'SUCCESS',
    );
  });

  it('passes the unit tests, which have each alert fire and not fire', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
    try {
      await copyFile(RULES, join(folder, 'k8s-lock.rules.yaml'));
      await copyFile(UNIT_TESTS, join(folder, 'alerts.test.yaml'));
      await promtool(['test', 'rules', 'alerts.test.yaml'], folder);
    } finally {
      await rm(folder, { recursive: true });
    }
    const tests = await readFile(UNIT_TESTS, 'utf8');
    for (const { alert } of readAlerts()) {
      expect(tests).toMatch(
        new RegExp(`alertname: ${alert}, exp_alerts: \\[\\]`),
      );
      expect(tests).toMatch(new RegExp(`alertname: ${alert}\\n +exp_alerts:`));
    }
  });
});

describeOnServer('on a real Prometheus', (server) => {
  let app: ObservedApp;
  let prometheus: Prometheus;
  beforeAll(async () => {
    app = await startObservedApp(server);
    const rules = await readFile(RULES, 'utf8');
    prometheus = await Prometheus.start(app.target, shorten(rules));
  });
  afterAll(async () => {
    await prometheus?.[Symbol.asyncDispose]();
    await app?.[Symbol.asyncDispose]();
  });

  /** Waits until the alert fires for these labels. */
  const fires = (alertname: string, labels: Record<string, string>) =>
    eventually(async () => {
      const alert = (await prometheus.alerts()).find(
        (each) => each.labels.alertname === alertname && isFiring(each),
      );
      expect(alert?.labels).toMatchObject({
        ...labels,
        k8s_namespace_name: server.namespace,
      });
      const texts = Object.values(alert!.annotations).join('\n');
      expect(texts).toContain(labels.k8s_lock_name ?? server.namespace);
      expect(texts).not.toMatch(/<no value>|<error/);
    });

  it('no alert fires while all goes well', async () => {
    const lock = await app.locks.acquire('good', STEADY);
    for (const query of [
      'k8s_lock_renewals_total{k8s_lock_name="good"} > 20',
      'k8s_lock_fire_claimed{k8s_lock_name="statements"} > 0',
      'changes(k8s_lock_fire_claimed{k8s_lock_name="rates"}[1m]) > 1',
    ]) {
      await eventually(async () =>
        expect(await prometheus.query(query)).not.toEqual([]),
      );
    }
    expect((await prometheus.alerts()).filter(isFiring)).toEqual([]);
    await lock.release();
  });

  it('each alert fires by its fault, and by no other', async () => {
    const { locks, others, link } = app;
    await others.acquire('statements', STEADY);
    await others.acquire('import', STEADY);
    await others.acquire('orders', STEADY);
    const waiting = Promise.allSettled([locks.acquire('import')]);
    const report = await locks.acquire('report', STEADY);
    await others.forceRelease('report');
    const isDone = new AbortController();
    const timeouts = callAgainAndAgain(isDone.signal, () =>
      locks.acquire('orders', { waitTimeout: 100 }),
    );

    await fires('K8sLockLost', {
      k8s_lock_name: 'report',
      error_type: 'freed',
    });
    await fires('K8sLockFireMissed', { k8s_lock_name: 'statements' });
    await fires('K8sLockWaitingTooLong', { k8s_lock_name: 'import' });
    await fires('K8sLockWaitTimeouts', { k8s_lock_name: 'orders' });
    isDone.abort();
    await timeouts;
    // 8,100 ms to the deadline: the renewal begins with 2,200 left, and is answered with 1,700 left at most.
    const slow = await locks.acquire('slow', {
      leaseDuration: 9_000,
      renewInterval: 5_900,
    });
    link.requests.delay = 500;
    await fires('K8sLockRenewalLate', { k8s_lock_name: 'slow' });
    link.heal();
    const before = (await prometheus.alerts()).filter(isFiring);
    expect(before.map(({ labels }) => labels.k8s_lock_name)).not.toContain(
      'rates',
    );
    expect(before.map(({ labels }) => labels.alertname)).not.toContain(
      'K8sLockApiServerRefusing',
    );

    const cutOff = await locks.acquire('cut-off', LIVELY);
    link.refuses = true;
    link.resetAll();
    await fires('K8sLockApiServerRefusing', {});
    await fires('K8sLockLost', {
      k8s_lock_name: 'cut-off',
      error_type: 'deadline',
    });
    link.heal();
    for (const lock of [report, slow, cutOff]) {
      await lock.release();
    }
    await others.forceRelease('import');
    await waiting;
  });

  it('each query of the dashboard finds what it asks for', async () => {
    await saturate(app);
    const page = await app.page();
    const emitted = new Set(page.match(/^k8s_lock_\w+/gm));
    const labels = new Set(
      [...page.matchAll(/[{,](\w+)="/g)].map(([, label]) => label!),
    );
    for (const query of readDashboard().queries) {
      const { metrics, labels: asked } = namesIn(query);
      expect([...metrics].filter((name) => !emitted.has(name))).toEqual([]);
      expect([...asked].filter((label) => !labels.has(label))).toEqual([]);
      await eventually(async () =>
        expect([query, await prometheus.query(fillIn(query))]).not.toEqual([
          query,
          [],
        ]),
      );
    }
  });

  it('each variable of the dashboard has values', async () => {
    for (const { metric, label } of readDashboard().variables) {
      const found = await prometheus.query(
        `count by (${label}) (${fillIn(metric)})`,
      );
      expect(found.map(({ metric: labels }) => labels[label])).toContain(
        label === 'k8s_namespace_name' ? server.namespace : 'statements',
      );
    }
  });
});

/** Seconds in the place of the minutes for which things must be bad. */
function shorten(rules: string): string {
  const shortened = rules
    .replaceAll(/\[\d+m\]/g, '[15s]')
    .replaceAll(/offset \d+m/g, 'offset 15s')
    .replaceAll(/for: \d+m/g, 'for: 2s')
    .replace('> 60', '> 2');
  expect(shortened).not.toMatch(/\b\d+m\b/);
  return shortened;
}

function isFiring({ state }: Alert): boolean {
  return state === 'firing';
}

async function callAgainAndAgain(
  done: AbortSignal,
  call: () => Promise<unknown>,
): Promise<void> {
  while (!done.aborted) {
    await expect(call()).rejects.toThrow('waitTimeout');
  }
}

/** Acquires locks that need 100 renewals a second each, until this process can't renew one more: the metric exists from then on. */
async function saturate({ locks, link }: ObservedApp): Promise<void> {
  link.requests.delay = 500;
  const busy: LeaseLock[] = [];
  const acquireMore = async (): Promise<never> => {
    for (;;) {
      const name = `busy-${busy.length}`;
      // oxlint-disable-next-line no-await-in-loop -- each makes the next more than can be renewed
      busy.push((await locks.tryAcquire(name, { renewInterval: 10 }))!);
    }
  };
  await expect(acquireMore()).rejects.toMatchObject({ reason: 'saturated' });
  link.heal();
  await Promise.all(busy.map((lock) => lock.release()));
}

/** As Grafana does, with all namespaces and locks chosen. */
function fillIn(query: string): string {
  return query
    .replaceAll('$__rate_interval', '1m')
    .replaceAll(/\$(namespace|lock)\b/g, '.*');
}

/** The metrics of this package, and the labels that Prometheus does not add itself. */
function namesIn(query: string): {
  metrics: Set<string>;
  labels: Set<string>;
} {
  const groups = [...query.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) =>
    list!.split(/,\s*/),
  );
  const matchers = [...query.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(
    ([, label]) => label!,
  );
  const metrics = query.match(/\bk8s_lock_\w+(?=\{|[\s)]|$)/g) ?? [];
  const labels = [...groups, ...matchers].filter((name) => name !== 'instance');
  return {
    metrics: new Set(metrics.filter((name) => !labels.includes(name))),
    labels: new Set(labels),
  };
}
