/**
 * The page of the dashboard in a real Chromium. `SCREENSHOTS=docs npm run verify -- dashboard` writes those of the docs.
 */
import { createServer, request } from 'node:http';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { PLATFORMS } from '../../test/decorators/http-clients.js';
import { beBusy } from './busy.js';
import { startChromium, type StartedChromium } from './chromium.js';
import { DashboardApp, type DashboardAppOptions } from './dashboard-app.js';

const { SCREENSHOTS } = process.env;
const DESK: BrowserContextOptions = {
  viewport: { width: 1440, height: 900 },
  colorScheme: 'light',
};
const DARK: BrowserContextOptions = { ...DESK, colorScheme: 'dark' };
const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  isMobile: true,
  hasTouch: true,
  colorScheme: 'light',
};
/** Those that docs/kubernetes.md names. */
const RIGHTS = {
  apiGroups: ['coordination.k8s.io'],
  resources: ['leases'],
  verbs: ['get', 'list', 'watch', 'create', 'update', 'patch'],
};
const axe = readFileSync(
  createRequire(import.meta.url).resolve('axe-core/axe.min.js'),
  'utf8',
);

const rowOf = (page: Page, name: string) =>
  page.locator('.row').filter({
    has: page.getByRole('button', { name, exact: true }),
  });

async function findViolations(page: Page): Promise<unknown[]> {
  // By the debugger: the policy of the page lets no other script in.
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations } = await Reflect.get(globalThis, 'axe').run();
    return violations.map(({ id, nodes }: any) => [
      id,
      nodes.map(({ html }: any) => html),
    ]);
  });
}

describeOnServer('the page', (server) => {
  let chromium: StartedChromium;
  beforeAll(async () => {
    await server.grant(RIGHTS);
    chromium = await startChromium();
  });
  afterAll(() => chromium?.[Symbol.asyncDispose]());

  async function openApp(
    options: Partial<DashboardAppOptions> = {},
  ): Promise<DashboardApp> {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(server.restrictedKubeConfigYaml);
    return DashboardApp.open({
      kubeConfig,
      namespace: server.namespace,
      ...options,
    });
  }

  /** Opens the page, and notes what a browser complains of. */
  async function visit(
    url: string,
    options: BrowserContextOptions = DESK,
  ): Promise<{ page: Page; faults: string[] }> {
    const context = await chromium.browser.newContext(options);
    const page = await context.newPage();
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') {
        faults.push(message.text());
      }
    });
    page.on('dialog', (dialog) => {
      faults.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    await page.goto(url);
    await page.waitForSelector('[data-link="live"]');
    return { page, faults };
  }

  it('looks well at a desk and on a phone, light and dark, and is accessible', async () => {
    await using dashboard = await openApp();
    const visits = await Promise.all(
      [DESK, DARK, PHONE].map((options) =>
        visit(`${dashboard.url}/locks`, options),
      ),
    );
    await beBusy(dashboard);
    for (const [index, { page, faults }] of visits.entries()) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await page.click('[data-span="60"]');
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await rowOf(page, 'invoices').waitFor();
      if (SCREENSHOTS !== undefined && index !== 1) {
        const file = index === 0 ? 'dashboard.png' : 'dashboard-phone.png';
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await page.screenshot({ path: join(SCREENSHOTS, file) });
      }
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await findViolations(page)).toEqual([]);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const overflow = await page.evaluate(
        'document.documentElement.scrollWidth - innerWidth',
      );
      expect(overflow).toBeLessThanOrEqual(0);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await rowOf(page, 'dispatcher').getByRole('button').click();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await findViolations(page)).toEqual([]);
      expect(faults).toEqual([]);
    }
  });

  it('shows hostile names, holders and annotations as text', async () => {
    await using dashboard = await openApp();
    const script = '<img src=x onerror=alert(1)><script>alert(2)</script>';
    await dashboard.pod('a').acquire(`${script}\u001b[31m\u202e`);
    await dashboard.pod(script.replaceAll(' ', '/')).acquire('hostile-holder');
    const admin = new KubernetesLeaseStore({
      kubeConfig: server.kubeConfig,
      requestTimeout: 30_000,
    });
    const huge = script + 'x'.repeat(100_000);
    await admin.create(
      { namespace: server.namespace, name: 'hostile-record' },
      {
        metadata: {
          name: 'hostile-record',
          labels: { 'app.kubernetes.io/managed-by': 'nestjs-k8s-lock' },
          annotations: {
            'nestjs-k8s-lock/name': huge,
            'nestjs-k8s-lock/fire': `${new Date().toISOString()} done by ${huge.slice(0, 9_000)}`,
          },
        },
        spec: { holderIdentity: huge, leaseDurationSeconds: 15 },
      },
    );
    const { page, faults } = await visit(`${dashboard.url}/locks`);
    await rowOf(page, 'hostile-record').getByRole('button').click();
    await page.locator('#details[open]').waitFor();
    expect(await page.locator('img, main script, dialog script').count()).toBe(
      0,
    );
    expect(await page.locator('#details').innerText()).toContain('<img');
    await page.click('#release');
    await page.click('#confirm-yes');
    await page.locator('#confirm').waitFor({ state: 'hidden' });
    expect(faults).toEqual([]);
  });

  it('releases by force after a confirmation that names the holder, in all browsers', async () => {
    await using dashboard = await openApp();
    const owner = dashboard.pod('owner-1');
    await owner.acquire('stuck', {
      leaseDuration: 'infinite',
      autoRenew: false,
    });
    const one = await visit(`${dashboard.url}/locks`);
    const two = await visit(`${dashboard.url}/locks`);
    await rowOf(one.page, 'stuck').getByRole('button').click();
    await one.page.click('#release');
    const yes = one.page.getByRole('button', { name: 'Release from owner-1' });
    await yes.waitFor();
    // Another has it meanwhile: nothing happens to that one.
    await owner.forceRelease('stuck');
    const other = dashboard.pod('owner-2');
    await other.acquire('stuck');
    await yes.click();
    await one.page.getByText('Another holds the lock by now').waitFor();
    expect((await other.inspect('stuck')).state).toBe('held');
    await one.page.getByRole('button', { name: 'Cancel' }).click();
    await rowOf(two.page, 'stuck').getByText('owner-2').waitFor();
    await rowOf(two.page, 'stuck').getByRole('button').click();
    await two.page.click('#release');
    await two.page
      .getByRole('button', { name: 'Release from owner-2' })
      .click();
    await rowOf(one.page, 'stuck').getByText('Free').waitFor();
    expect((await other.inspect('stuck')).state).toBe('free');
  });

  it.each(Object.entries(PLATFORMS))(
    'works below a global prefix and behind a proxy path, on %s',
    async (_, makeAdapter) => {
      await using dashboard = await openApp({
        adapter: makeAdapter(),
        prefix: 'api',
        dashboard: { path: 'ops/locks' },
      });
      await dashboard.pod('a').acquire('behind-a-proxy');
      const proxy = createServer((incoming, outgoing) => {
        const path = incoming.url!.replace(/^\/cluster-7/, '');
        const { method, headers } = incoming;
        const sent = request(
          dashboard.url + path,
          { method, headers },
          (answer) => {
            outgoing.writeHead(answer.statusCode!, answer.headers);
            answer.pipe(outgoing);
          },
        );
        outgoing.on('close', () => sent.destroy());
        sent.on('error', () => outgoing.destroy());
        incoming.pipe(sent);
      });
      proxy.listen(0, '127.0.0.1');
      await once(proxy, 'listening');
      const { port } = Object(proxy.address());
      const url = `http://127.0.0.1:${port}/cluster-7/api/ops/locks`;
      const { page, faults } = await visit(url);
      const row = rowOf(page, 'behind-a-proxy');
      await row.getByRole('button').click();
      await page.click('#release');
      await page.click('#confirm-yes');
      await row.getByText('Free').waitFor();
      expect(faults).toEqual([]);
      await page.context().close();
      proxy.closeAllConnections();
      proxy.close();
    },
  );

  it('does work for what has changed, with a thousand locks', async () => {
    const namespace = server.namespace;
    await using dashboard = await openApp();
    const admin = new KubernetesLeaseStore({
      kubeConfig: server.kubeConfig,
      requestTimeout: 30_000,
    });
    const names = Array.from({ length: 1_000 }, (_, index) => `many-${index}`);
    for (let at = 0; at < names.length; at += 50) {
      // oxlint-disable-next-line no-await-in-loop -- some at a time
      await Promise.all(
        names.slice(at, at + 50).map((name) =>
          admin.create(
            { namespace, name },
            {
              metadata: {
                name,
                labels: { 'app.kubernetes.io/managed-by': 'nestjs-k8s-lock' },
              },
            },
          ),
        ),
      );
    }
    const { page } = await visit(`${dashboard.url}/locks`);
    await page.fill('#filter', 'many-');
    await rowOf(page, 'many-0').waitFor();
    expect(await page.locator('.row').count()).toBeGreaterThanOrEqual(1_000);
    const session = await page.context().newCDPSession(page);
    const events: any[] = [];
    session.on('Tracing.dataCollected', ({ value }) => events.push(...value));
    const complete = new Promise((resolve) => {
      session.once('Tracing.tracingComplete', resolve);
    });
    await session.send('Tracing.start', {
      traceConfig: { includedCategories: ['devtools.timeline', 'blink'] },
    });
    const pod = dashboard.pod('busy');
    for (const name of ['many-0', 'many-1', 'many-999']) {
      // oxlint-disable-next-line no-await-in-loop -- one event after the other
      const lock = await pod.acquire(name);
      // oxlint-disable-next-line no-await-in-loop -- one event after the other
      await lock.release();
    }
    await rowOf(page, 'many-0').getByText('after busy').waitFor();
    await session.send('Tracing.end');
    await complete;
    const styled = events
      .filter(({ name, ph }) => name === 'UpdateLayoutTree' && ph !== 'B')
      .map(({ args }) => args.elementCount ?? 0);
    expect(styled.length).toBeGreaterThan(0);
    expect(Math.max(...styled)).toBeLessThan(500);
  });

  it('is used by keyboard', async () => {
    await using dashboard = await openApp();
    await dashboard.pod('a').acquire('key-one');
    await dashboard.pod('a').acquire('key-two');
    const { page } = await visit(`${dashboard.url}/locks`);
    await rowOf(page, 'key-two').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('key-');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.locator('#details[open]').waitFor();
    expect(await page.locator('#details-title').innerText()).toBe('key-two');
    await page.keyboard.press('Escape');
    await page.locator('#details').waitFor({ state: 'hidden' });
    expect(await page.evaluate('document.activeElement.textContent')).toBe(
      'key-two',
    );
  });
});
