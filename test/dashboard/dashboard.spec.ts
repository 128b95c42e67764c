/** The dashboard over HTTP: who may see it, what it sends, and the forced release, on each platform of Nest. */
import { once } from 'node:events';
import { request } from 'node:http';
import {
  Injectable,
  Module,
  VersioningType,
  type CanActivate,
} from '@nestjs/common';
import { Cron, Interval, ScheduleModule } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { describe, expect, it, vi } from 'vitest';
import { K8sLockDashboardModule } from '../../lib/dashboard/index.js';
import { LockFeed } from '../../lib/dashboard/lock-feed.js';
import {
  K8sLockModule,
  LockConfigurationError,
  WithLeaseLock,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { PLATFORMS } from '../decorators/http-clients.js';
import { defer, type LockApp } from '../decorators/lock-app.js';
import { eventually } from '../support/eventually.js';
import { startDashboard, Stream, WordGuard } from './dashboard-app.js';

const WORD = { 'x-word': 'sesame' };
const ROUTES = [
  'locks',
  'locks/view',
  'locks/view.js',
  'locks/view.css',
  'locks/icon.svg',
  'locks/events',
];
const FROM_PAGE = {
  'content-type': 'application/json',
  'x-k8s-lock-dashboard': '1',
};

/** A value that the types would refuse. */
const untyped = (value: unknown): any => value;

describe('the options', () => {
  it.each([
    [undefined, /argument of K8sLockDashboardModule\.forRoot\(\) must be an/],
    [{}, /needs guards: .* public: true/],
    [{ guards: [] }, /needs guards/],
    [{ public: false }, /needs guards/],
    [{ public: true, guards: [WordGuard] }, /public must not be true together/],
    [{ guards: [Date] }, /guards must be an array of guards/],
    [{ guards: WordGuard }, /guards must be an array of guards/],
    [{ public: true, path: '' }, /path must be a path of .*, not ""/],
    [{ public: true, path: '/' }, /path must be a path of .*, not "\/"/],
    [{ public: true, path: '/:id' }, /path must be a path of .*, not "\/:id"/],
    [{ public: true, namespace: 'A' }, /namespace must be a DNS-1123 label/],
    [{ public: true, allowForceRelease: 1 }, /allowForceRelease must be true/],
    [{ public: true, title: '' }, /title must be a string of 1 to 100/],
    [{ public: true, colour: 1 }, /"colour" is not an option/],
  ])('%j are refused', (options, message) => {
    const make = (): unknown =>
      K8sLockDashboardModule.forRoot(untyped(options));
    expect(make).toThrow(LockConfigurationError);
    expect(make).toThrow(message);
  });

  it.each([
    [{ useFactory: () => ({}) }, /needs guards/],
    [{ public: true }, /useFactory must be a function/],
    [{ public: true, useFactory: () => ({}), title: 'a' }, /"title" is not an/],
  ])('%j are refused by forRootAsync()', (options, message) => {
    expect(() => K8sLockDashboardModule.forRootAsync(untyped(options))).toThrow(
      message,
    );
  });

  it('of a factory are checked at startup', async () => {
    const wrong = K8sLockDashboardModule.forRootAsync({
      public: true,
      useFactory: () => untyped({ title: 7 }),
    });
    await expect(
      Test.createTestingModule({
        imports: [K8sLockModule.forRoot({ verifyAtStartup: false }), wrong],
      }).compile(),
    ).rejects.toThrow(/title must be a string/);
  });
});

describe.each(Object.entries(PLATFORMS))('on %s', (_, makeAdapter) => {
  it('every route is guarded', async () => {
    await using app = await startDashboard(
      { guards: [WordGuard], allowForceRelease: true },
      { adapter: makeAdapter() },
    );
    for (const route of ROUTES) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await app.request(route, { redirect: 'manual' });
      expect([route, answer.status]).toEqual([route, 403]);
    }
    const post = await app.request('locks/force-release', { method: 'POST' });
    expect(post.status).toBe(403);
    expect((await app.request('locks/view', { headers: WORD })).status).toBe(
      200,
    );
  });

  it('serves the page with a strict policy, below a global prefix and a version', async () => {
    await using app = await startDashboard(
      { public: true, path: 'ops/locks' },
      {
        adapter: makeAdapter(),
        configure: (nest) => {
          nest.setGlobalPrefix('api');
          nest.enableVersioning({
            type: VersioningType.URI,
            defaultVersion: '1',
          });
        },
      },
    );
    const entry = await app.request('api/ops/locks', { redirect: 'manual' });
    expect([entry.status, entry.headers.get('location')]).toEqual([
      302,
      'locks/view',
    ]);
    const page = await app.request('api/ops/locks');
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const policy = page.headers.get('content-security-policy');
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('unsafe');
    const html = await page.text();
    expect(html).not.toMatch(/(src|href)="(\/|https?:)| style=| on\w+=/);
    for (const [, file = ''] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await app.request(`api/ops/locks/${file}`);
      expect([file, answer.status]).toEqual([file, 200]);
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    }
  });

  it('sends what there is, and then each change', async () => {
    await using app = await startDashboard(undefined, {
      adapter: makeAdapter(),
    });
    await using held = await app.others.acquire('import');
    await using stream = await Stream.open(app);
    expect(stream.response.headers.get('content-type')).toMatch(
      /^text\/event-stream/,
    );
    const { locks, namespace } = await stream.next('snapshot');
    expect(namespace).toBe('default');
    expect(locks).toMatchObject([
      { id: 'import', name: 'import', kind: 'lock', waiting: [] },
    ]);
    const { holder } = locks[0];
    expect(holder).toMatchObject({ foreign: false, leaseDuration: 15_000 });
    expect(held.holderIdentity.startsWith(holder.pod)).toBe(true);
    const waits = app.locks.acquire('import');
    const waiting = await stream.lock('import', (view) => view.waiting.length);
    expect(waiting.waiting).toHaveLength(1);
    await held.release();
    const next = await stream.lock(
      'import',
      (view) => view.holder && view.holder.key !== holder.key,
    );
    expect(next.holds).toHaveLength(2);
    expect(next.holds[0]).toHaveProperty('to');
    expect(next.holds[1]).not.toHaveProperty('to');
    await (await waits).release();
    const free = await stream.lock('import', (view) => !view.holder);
    expect(free.holds[1].to).toBeGreaterThanOrEqual(free.holds[1].from);
  });

  it('keeps no place for a HEAD, nor for a browser that left while a guard decided', async () => {
    const decision = defer<boolean>();
    const entered = defer<{ closed: Promise<unknown> }>();
    const guard: CanActivate = {
      canActivate: (context) => {
        const http = context.switchToHttp();
        if (http.getRequest().method === 'HEAD') {
          return true;
        }
        const response = http.getResponse();
        entered.resolve({ closed: once(response.raw ?? response, 'close') });
        return decision.promise;
      },
    };
    await using app = await startDashboard(
      { guards: [guard] },
      { adapter: makeAdapter() },
    );
    const feed = app.app.get(LockFeed, { strict: false });
    const head = await app.request('locks/events', {
      method: 'HEAD',
      headers: { connection: 'close' },
    });
    expect([head.status, head.headers.get('content-type')]).toEqual([
      200,
      expect.stringMatching(/^text\/event-stream/),
    ]);
    const sent = request(new URL('locks/events', await app.app.getUrl()));
    sent.on('error', () => {}).end();
    const { closed } = await entered.promise;
    sent.destroy();
    await closed;
    const connect = vi.spyOn(feed, 'connect');
    decision.resolve(true);
    await vi.waitFor(() => expect(connect).toHaveBeenCalled());
    expect(feed.size).toBe(0);
  });

  it('releases by force for its own page only', async () => {
    await using app = await startDashboard(
      { public: true, allowForceRelease: true },
      {
        adapter: makeAdapter(),
        configure: (nest) => nest.enableCors({ origin: true }),
      },
    );
    const { key } = await holderOf(app, 'stuck');
    const body = JSON.stringify({ id: 'stuck', key });
    const postWith = async (headers: Record<string, string>): Promise<number> =>
      (
        await app.request('locks/force-release', {
          method: 'POST',
          headers,
          body,
        })
      ).status;
    const { host, origin } = new URL(await app.app.getUrl());
    // fetch() of Node.js sends `sec-fetch-mode` only; a header that it forbids goes by node:http.
    expect(await postWith({ 'content-type': 'application/json' })).toBe(403);
    expect(await postWith(FROM_PAGE)).toBe(403);
    expect(
      await postWith({ ...FROM_PAGE, origin: 'https://evil.example' }),
    ).toBe(403);
    expect(await postWith({ ...FROM_PAGE, origin: 'null' })).toBe(403);
    expect(
      await postWith({ ...FROM_PAGE, origin: `http://${host}.evil.example` }),
    ).toBe(403);
    for (const site of ['cross-site', 'same-site', 'none']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const status = await send(app, body, {
        ...FROM_PAGE,
        origin,
        'sec-fetch-site': site,
      });
      expect([site, status]).toEqual([site, 403]);
    }
    expect((await app.others.inspect('stuck')).state).toBe('held');
    expect(await send(app, body, { ...FROM_PAGE, origin })).toBe(200);
    expect((await app.others.inspect('stuck')).state).toBe('free');
  });
});

async function holderOf(app: LockApp, name: string): Promise<{ key: string }> {
  await app.others.acquire(name, {
    leaseDuration: 'infinite',
    autoRenew: false,
  });
  await using stream = await Stream.open(app);
  const { locks } = await stream.next('snapshot');
  return locks.find(({ id }: { id: string }) => id === name).holder;
}

/** POSTs with headers that fetch() would not send. */
async function send(
  app: LockApp,
  body: string,
  headers: Record<string, string>,
): Promise<number> {
  const url = new URL('locks/force-release', await app.app.getUrl());
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', headers }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const post = async (app: LockApp, body: unknown): Promise<[number, string]> => {
  const { origin } = new URL(await app.app.getUrl());
  const answer = await app.request('locks/force-release', {
    method: 'POST',
    headers: { ...FROM_PAGE, origin },
    body: JSON.stringify(body),
  });
  const { message } = JSON.parse(await answer.text());
  return [answer.status, message];
};

describe('the forced release', () => {
  it('is refused unless it is allowed', async () => {
    await using app = await startDashboard();
    const { key } = await holderOf(app, 'stuck');
    expect(await post(app, { id: 'stuck', key })).toEqual([
      403,
      'Force release is not allowed here.',
    ]);
    expect((await app.others.inspect('stuck')).state).toBe('held');
  });

  it('is for the holder that was shown, and for a lock', async () => {
    const warnings: string[] = [];
    await using app = await startDashboard(
      { public: true, allowForceRelease: true },
      {
        logger: {
          log: () => {},
          error: () => {},
          warn: (message: string, context: string) =>
            context === 'K8sLockDashboard' && warnings.push(message),
        },
      },
    );
    const { key } = await holderOf(app, 'stuck');
    await app.others.forceRelease('stuck');
    expect((await post(app, { id: 'stuck', key }))[0]).toBe(409);
    await app.others.acquire('stuck');
    expect((await post(app, { id: 'stuck', key }))[0]).toBe(409);
    expect((await app.others.inspect('stuck')).state).toBe('held');
    expect((await post(app, { id: 'nothing', key }))[0]).toBe(404);
    expect((await post(app, { id: '../x', key }))[0]).toBeGreaterThanOrEqual(
      400,
    );
    expect((await post(app, { id: 7 }))[0]).toBe(400);
    expect(warnings).toEqual([]);
    const { key: present } = await holderOf(app, 'other');
    expect((await post(app, { id: 'other', key: present }))[0]).toBe(200);
    expect(warnings).toMatchObject([
      expect.stringMatching(
        /^Lock "other" \(Lease default\/other\) was released by force from the dashboard: ".+" held it\. Asked for by /,
      ),
    ]);
  });

  it('frees a slot of a semaphore, and a lock that is held under a session', async () => {
    await using app = await startDashboard(
      { public: true, allowForceRelease: true },
      { lock: { renewal: 'session' } },
    );
    await app.locks.acquire('session');
    await app.others.acquire('permits', { permits: 2 });
    const second = await app.others.acquire('permits', { permits: 2 });
    await using stream = await Stream.open(app);
    const { locks } = await stream.next('snapshot');
    const shown = ['session', second.leaseName].map((name) =>
      locks.find(({ id }: { id: string }) => id === name),
    );
    for (const { id, holder } of shown) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await post(app, { id, key: holder.key })).toEqual([
        200,
        'The lock was released.',
      ]);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await stream.lock(id, (view) => view.holder === undefined);
    }
    expect((await app.others.inspect('permits')).state).toBe('held');
  });

  it('says why the API server refuses', async () => {
    await using app = await startDashboard({
      public: true,
      allowForceRelease: true,
    });
    const { key } = await holderOf(app, 'stuck');
    app.server.faults.inject({ kind: 'status', code: 403 }, { verb: 'get' });
    const [status, message] = await post(app, { id: 'stuck', key });
    expect(status).toBe(503);
    expect(message).toContain(
      "Can't get Lease default/stuck: the API server answered 403",
    );
  });
});

describe('the stream', () => {
  it('feeds all browsers from one watch, which ends with the last', async () => {
    await using server = await LeaseApiServer.start();
    await using app = await startDashboard(undefined, { server });
    // Nobody waits for a lock, so there is no other.
    const started = (): number => server.requests.count({ verb: 'watch' });
    expect(started()).toBe(0);
    {
      await using first = await Stream.open(app);
      await first.next('snapshot');
      await using second = await Stream.open(app);
      await second.next('snapshot');
      await app.others.acquire('shared');
      await Promise.all([first.lock('shared'), second.lock('shared')]);
      expect(started()).toBe(1);
    }
    await eventually(() => expect(server.openWatches()).toBe(0));
  });

  it('says that it fails, and goes on when it can', async () => {
    await using app = await startDashboard();
    const broken = app.server.faults.inject({ kind: 'status', code: 403 });
    await using stream = await Stream.open(app);
    const failed = await stream.next(
      'watch',
      ({ state }) => state === 'failed',
    );
    expect(failed.message).toMatch(/list/);
    broken.remove();
    expect(await stream.next('snapshot')).toMatchObject({
      watch: { state: 'live' },
    });
  });

  it('ends when the application closes, which does not wait for browsers', async () => {
    const app = await startDashboard();
    const stream = await Stream.open(app);
    await stream.next('snapshot');
    await app[Symbol.asyncDispose]();
    await eventually(() => expect(stream.ended).toBe(true));
  });

  it('cuts hostile texts, and shows no other Leases', async () => {
    await using app = await startDashboard(undefined, {
      lock: { namePrefix: 'ours-' },
    });
    const name = `ours-</script><script>alert(1)</script>\u202e\u001b[31m${'x'.repeat(900)}`;
    await app.others.acquire(name);
    await app.others.acquire('theirs');
    await using stream = await Stream.open(app);
    const { locks } = await stream.next('snapshot');
    expect(locks).toHaveLength(1);
    expect(locks[0].name.length).toBeLessThan(300);
    expect(locks[0].name).not.toMatch(/\p{C}/u);
  });
});

describe('sessions', () => {
  it('are shown, with the locks that are held under them', async () => {
    await using app = await startDashboard(undefined, {
      lock: { renewal: 'session' },
    });
    await using held = await app.locks.acquire('report');
    await using stream = await Stream.open(app);
    const { locks } = await stream.next('snapshot');
    const session = locks.find(({ kind }: any) => kind === 'session');
    const lock = locks.find(({ id }: any) => id === held.leaseName);
    expect(session).toMatchObject({
      exists: true,
      holder: { leaseDuration: 15_000, foreign: false },
    });
    expect(session.holder.pod).toBe(lock.holder.pod);
    expect(lock.holder).toMatchObject({ session: session.id });
    expect(lock.holder).not.toHaveProperty('leaseDuration');
    await held.release();
    expect(
      await stream.lock(held.leaseName, ({ holder }) => !holder),
    ).toMatchObject({ kind: 'lock' });
  });
});

describe('several dashboards', () => {
  @Module({})
  class TitleModule {}

  it('stand side by side, one of them with options of a factory that gets what it injects', async () => {
    const TITLE = Symbol('TITLE');
    const second = K8sLockDashboardModule.forRootAsync({
      path: 'elsewhere',
      guards: [WordGuard],
      imports: [
        {
          module: TitleModule,
          providers: [{ provide: TITLE, useValue: 'Elsewhere' }],
          exports: [TITLE],
        },
      ],
      inject: [TITLE],
      useFactory: async (title: string) => ({ title, namespace: 'elsewhere' }),
    });
    await using app = await startDashboard(undefined, { imports: [second] });
    await app.others.acquire('here');
    await app.others.acquire('there', { namespace: 'elsewhere' });
    await using one = await Stream.open(app);
    expect(await one.next('snapshot')).toMatchObject({
      title: 'Locks',
      namespace: 'default',
      locks: [{ id: 'here' }],
    });
    expect((await app.request('elsewhere/view')).status).toBe(403);
    await using other = await Stream.open(app, 'elsewhere/events', WORD);
    expect(await other.next('snapshot')).toMatchObject({
      title: 'Elsewhere',
      namespace: 'elsewhere',
      allowForceRelease: false,
      locks: [{ id: 'there' }],
    });
  });
});

describe('schedules', () => {
  @Injectable()
  class Reports {
    @Cron('0 3 * * *')
    @WithLeaseLock('nightly')
    async nightly() {}

    @Interval(200)
    @WithLeaseLock('often')
    async often() {}

    @Cron('0 4 * * *', { disabled: true })
    @WithLeaseLock('never')
    async never() {}
  }

  @Module({ imports: [ScheduleModule.forRoot()], providers: [Reports] })
  class ReportsModule {}

  it('have their next fire, and what became of the last, also before a Lease exists', async () => {
    await using app = await startDashboard(undefined, {
      imports: [ReportsModule],
    });
    await using stream = await Stream.open(app);
    const { plans, locks } = await stream.next('snapshot');
    const nightly = plans.find(({ id }: { id: string }) => id === 'nightly');
    expect(nightly.label).toBe('Reports.nightly');
    const next = new Date(nightly.next);
    expect([next.getHours(), next.getMinutes(), next.getSeconds()]).toEqual([
      3, 0, 0,
    ]);
    expect(nightly.next).toBeGreaterThan(Date.now());
    expect(plans.map(({ id }: { id: string }) => id)).not.toContain('never');
    expect(
      locks.find(({ id }: { id: string }) => id === 'nightly'),
    ).toMatchObject({ exists: false, methods: ['Reports.nightly'] });
    const ran = await stream.lock('often', ({ fires }) =>
      fires.some(({ here, state }: any) => here === 'ran' && state === 'done'),
    );
    expect(ran.methods).toEqual(['Reports.often']);
  });

  it('tell why a fire was skipped here', async () => {
    await using app = await startDashboard(undefined, {
      imports: [ReportsModule],
      lock: { retryInterval: 50 },
    });
    await using held = await app.others.acquire('often', {
      leaseDuration: 2_000,
      renewInterval: 50,
    });
    await using stream = await Stream.open(app);
    const view = await stream.lock('often', ({ fires }) =>
      fires.some(({ why }: any) => why === 'held'),
    );
    expect(held.name).toBe('often');
    expect(view.holder.method).toBeUndefined();
  });
});
