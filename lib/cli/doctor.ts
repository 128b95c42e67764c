/** `doctor`: checks the cluster, the rights, the clocks and the Leases, and says what to do. */
import { parseObject } from '../kube/api-response.js';
import { KubeHttpClient } from '../kube/kube-http-client.js';
import type { Answer } from '../kube/http-request.js';
import type { LeaseVerb } from '../kube/lease-store.js';
import { explanationOf } from '../lock.errors.js';
import { describeLocks, describeSessions } from '../lock/lock-engine.js';
import { isLock } from '../lock/record/lease-record.js';
import { isSession } from '../lock/record/session.js';
import type { CommandLine, Flags } from './arguments.js';
import { connect, REQUEST_TIMEOUT, type Cluster } from './cluster.js';
import { clean, durationOf, paint, print, toJson, toYaml } from './output.js';
import { isOverdue } from './show.js';

/** What one check has found. */
interface Finding {
  readonly level: 'ok' | 'warning' | 'fault';
  readonly check: string;
  readonly found: string;
}

/** The manifests that grant each right, and what it is for. */
const RIGHTS: readonly (readonly [
  verb: LeaseVerb,
  level: Finding['level'],
  advice: string,
])[] = [
  [
    'get',
    'fault',
    'Nothing works without it. deploy/kustomize/base/any-lock.yaml grants it.',
  ],
  [
    'list',
    'fault',
    'The watch of locks, and list, need it. deploy/kustomize/base/any-lock.yaml grants it.',
  ],
  [
    'watch',
    'fault',
    'Without it locks are polled. deploy/kustomize/base/any-lock.yaml grants it.',
  ],
  [
    'update',
    'fault',
    'No lock can be held without it. deploy/kustomize/base/any-lock.yaml grants it.',
  ],
  [
    'patch',
    'fault',
    'Waiting is slower and less fair without it. deploy/kustomize/base/any-lock.yaml grants it.',
  ],
  [
    'create',
    'warning',
    'Locks without a Lease can not be held: grant it by deploy/kustomize/base/any-lock.yaml, or set createLease: false.',
  ],
  [
    'delete',
    'warning',
    "Only deleteOnRelease and renewal: 'session' need it. deploy/sessions.yaml grants it.",
  ],
];

/** The greatest difference of clocks in which dates in records are still of use, in milliseconds. */
const GREATEST_SKEW = 2_000;
/** A round trip from which on renewals are in danger, in milliseconds. */
const SLOW = 1_000;

export async function doctor({
  parameters: names,
  flags,
}: CommandLine): Promise<number> {
  await using cluster = await connect(flags);
  const findings = [
    ...(await checkServer(cluster)),
    ...(await checkRights(cluster)),
    ...(await checkLeases(cluster, names)),
  ];
  show(findings, flags);
  return findings.some(({ level }) => level === 'fault') ? 1 : 0;
}

async function checkServer({
  kubeConfig: config,
}: Cluster): Promise<Finding[]> {
  const context = ok('context', config.getCurrentContext());
  const client = new KubeHttpClient(() => Promise.resolve(config), undefined);
  try {
    // The first answer comes with the connection; the second one shows the round trip.
    await readVersion(client);
    const sentAt = Date.now();
    const startedAt = performance.now();
    const answer = await readVersion(client);
    const roundTrip = performance.now() - startedAt;
    return [
      context,
      ok('server', versionIn(answer)),
      {
        level: roundTrip > SLOW ? 'warning' : 'ok',
        check: 'round trip',
        found: `${Math.round(roundTrip)} ms`,
      },
      checkClock(answer, sentAt + roundTrip / 2),
      checkFairness(answer),
    ];
  } catch (error) {
    return [
      context,
      {
        level: 'fault',
        check: 'server',
        found: `It does not answer (${explanationOf(error)}). Check the address and the credentials of the context.`,
      },
    ];
  } finally {
    client.close();
  }
}

function readVersion(client: KubeHttpClient): Promise<Answer> {
  const operation = { verb: 'review', namespace: '', timeout: REQUEST_TIMEOUT };
  return client.exchange(
    { ...operation, verb: 'review' },
    { method: 'GET', path: '/version', timeout: REQUEST_TIMEOUT },
    1_000_000,
  );
}

function versionIn({ status, body }: Answer): string {
  try {
    const { gitVersion } = parseObject(body);
    if (status === 200 && typeof gitVersion === 'string') {
      return gitVersion;
    }
  } catch {
    // It is no Kubernetes, or a proxy has answered.
  }
  return `of no known version (HTTP ${status})`;
}

/** The date of an answer has whole seconds. */
function checkClock({ headers }: Answer, now: number): Finding {
  const check = 'clock';
  const date = Date.parse(headers.date ?? '');
  if (Number.isNaN(date)) {
    return { level: 'warning', check, found: 'The answer has no date.' };
  }
  const skew = now - (date + 500);
  return Math.abs(skew) > GREATEST_SKEW
    ? {
        level: 'warning',
        check,
        found: `This clock differs from the server's by ${durationOf(skew)}: no lock depends on it, but fires are planned by it, and k8slock judges by it. Set the clock (NTP).`,
      }
    : ok(check, `differs from the server's by less than ${GREATEST_SKEW} ms`);
}

function checkFairness({ headers }: Answer): Finding {
  const level = headers['x-kubernetes-pf-prioritylevel-uid'];
  const check = 'fairness';
  return level === undefined
    ? {
        level: 'warning',
        check,
        found:
          'API Priority and Fairness is off, so that a crowd of other requests can delay renewals.',
      }
    : ok(
        check,
        'API Priority and Fairness is on; deploy/kustomize/base/flow-schema.yaml keeps the requests of locks apart',
      );
}

async function checkRights({ store, namespace }: Cluster): Promise<Finding[]> {
  return Promise.all(
    RIGHTS.map(async ([verb, level, advice]): Promise<Finding> => {
      const check = `right to ${verb}`;
      try {
        return (await store.mayI(verb, { namespace }))
          ? ok(check, `granted on Leases in namespace ${namespace}`)
          : {
              level,
              check,
              found: `Missing for Leases in namespace ${namespace} as a whole. ${advice}`,
            };
      } catch (error) {
        return { level: 'fault', check, found: explanationOf(error) };
      }
    }),
  );
}

async function checkLeases(
  { store, namespace, leaseNameOf }: Cluster,
  names: readonly string[],
): Promise<Finding[]> {
  try {
    const leases = await store.list(namespace);
    const locks = describeLocks(leases, leaseNameOf);
    const others = leases.filter(
      (lease) => !isLock(lease) && !isSession(lease),
    );
    const overdue = [
      ...locks.flatMap((lock) =>
        lock.state === 'held' && isOverdue(lock)
          ? `Lock ${lock.name} of ${lock.holder}`
          : [],
      ),
      ...describeSessions(leases).flatMap((session) =>
        isOverdue(session) ? `Session ${session.leaseName}` : [],
      ),
    ];
    const unowned =
      names.length === 0
        ? []
        : locks.filter(({ name }) => !names.includes(name));
    return [
      ok('Leases', `${locks.length} of locks, ${others.length} of others`),
      ...overdue.map((what): Finding => ({
        level: 'warning',
        check: 'stale',
        found: `${what} has expired by the clocks: its holder is dead or cut off. Who acquires it next takes it over.`,
      })),
      ...unowned.map(
        ({ name, namespace: itsNamespace, leaseName }): Finding => ({
          level: 'warning',
          check: 'no owner',
          found: `Lock ${name} is not one of those you named. If no method uses it any more: kubectl delete lease -n ${itsNamespace} ${leaseName}`,
        }),
      ),
    ];
  } catch (error) {
    return [{ level: 'fault', check: 'Leases', found: explanationOf(error) }];
  }
}

function ok(check: string, found: string): Finding {
  return { level: 'ok', check, found };
}

const COLOURS = { ok: 'green', warning: 'yellow', fault: 'red' } as const;

function show(findings: readonly Finding[], { output }: Flags): void {
  if (output === 'json' || output === 'yaml') {
    print(output === 'json' ? `${toJson(findings, 2)}\n` : toYaml(findings));
    return;
  }
  for (const { level, check, found } of findings) {
    const result = paint(level.padEnd(8), COLOURS[level]);
    print(`${result} ${check.padEnd(16)} ${clean(found)}\n`);
  }
}
