/**
 * Runs the suites of this folder, one after the other. A suite whose needs can't be met is skipped, and named at the
 * end. Exits with 1 when one has failed, and with `CI=true` also when one was skipped, unless it is for what the
 * checkout lacks; with 2 when the arguments are wrong.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { obtainPackages } from '../test/package/installed-packages.js';
import { obtainRedis } from './combinations/redis-server.js';
import { obtainChromium } from './dashboard/chromium.js';
import { obtainFaketime } from './faults/faketime.js';
import { obtainPostgres } from './fencing/postgres-server.js';
import { buildPeers } from './interop/peers.js';
import { refuse } from './arguments.js';
import { buildKubeApiserver } from './kube-apiserver/build.js';
import { buildKustomize } from './kustomize/kustomize.js';
import { obtainPrometheus } from './observability/prometheus.js';
import { findEarlierBuilds } from './upgrade/earlier-builds.js';

/** What a machine must have, and what makes it have it, or rejects. */
interface Need {
  readonly what: string;
  readonly obtain: () => Promise<unknown>;
  /** Whether the checkout has it or lacks it, so that no machine can obtain it. */
  readonly isOfCheckout?: true;
}

interface Suite {
  readonly about: string;
  readonly needs: readonly Need[];
  /** Paths of specs and of folders of them. */
  readonly specs?: readonly string[];
  /** A program, with its arguments, to be run after the specs. */
  readonly program?: readonly string[];
}

/** The parts of Vitest's JSON report that are used here. */
interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

const root = fileURLToPath(new URL('..', import.meta.url));

const kubeApiserver: Need = {
  what: 'Go (to build kube-apiserver once: about 6 minutes)',
  obtain: buildKubeApiserver,
};
const peers: Need = {
  what: 'Go (to build the peers)',
  obtain: buildPeers,
};
const kustomize: Need = {
  what: 'Go (to build kustomize)',
  obtain: buildKustomize,
};
const libfaketime: Need = {
  what: 'libfaketime (a Debian package, by apt-get)',
  obtain: async () => {
    const faketime = await obtainFaketime();
    if ('unavailable' in faketime) {
      throw new Error(faketime.unavailable);
    }
  },
};
const redis: Need = {
  what: 'redis-server (of the machine, or a Debian package, by apt-get)',
  obtain: obtainRedis,
};
const postgres: Need = {
  what: 'postgresql (of the machine, or a Debian package, by apt-get)',
  obtain: obtainPostgres,
};
const chromium: Need = {
  what: 'chromium (a Debian package, by apt-get)',
  obtain: obtainChromium,
};
const history: Need = {
  what: 'git, and the whole history in this checkout',
  obtain: findEarlierBuilds,
  isOfCheckout: true,
};
const prometheus: Need = {
  what: 'prometheus (a Debian package, by apt-get)',
  obtain: obtainPrometheus,
};
const nestPackages: Need = {
  what: 'the packages of Nest 11 and 12, and of Jest (by npm)',
  obtain: async () => {
    await obtainPackages(join(root, 'verification/compatibility/jest-app'));
    await obtainPackages(join(root, 'verification/combinations/nest-11'));
    await obtainPackages(join(root, 'verification/combinations/nest-12'));
  },
};

const SUITES: Readonly<Record<string, Suite>> = {
  'kube-apiserver': {
    about: 'the real API server: contract, rights and manifests, requests',
    needs: [kubeApiserver],
    specs: ['verification/kube-apiserver', ...specsOnServer()],
  },
  processes: {
    about: 'real processes, which are killed and paused',
    needs: [kubeApiserver],
    specs: ['verification/processes'],
  },
  fencing: {
    about: 'that PostgreSQL refuses a leader that was paused',
    needs: [kubeApiserver, postgres],
    specs: ['verification/fencing'],
  },
  simulation: {
    about:
      '10,000 seeds of the simulator, and 1,200 of semaphores, elections and lines',
    needs: [],
    specs: ['verification/simulation'],
    program: ['verification/simulation/main.ts', '--seeds=10000'],
  },
  mutants: {
    about: 'that each breaking of a rule is caught',
    needs: [],
    specs: ['verification/mutants'],
  },
  faults: {
    about: 'real faults in real processes',
    needs: [kubeApiserver, libfaketime],
    specs: ['verification/beliefs', 'verification/faults'],
    program: ['verification/faults/main.ts', '--seconds=120'],
  },
  interop: {
    about: 'the same Leases with client-go and k8slock',
    needs: [kubeApiserver, peers],
    specs: ['verification/interop'],
    program: ['verification/interop/main.ts', '--seconds=60'],
  },
  soak: {
    about: 'that nothing grows under many locks and faults',
    needs: [kubeApiserver, libfaketime],
    program: ['verification/soak/main.ts', '--minutes=2'],
  },
  compatibility: {
    about: 'Nest 11 and 12, Jest, decorators of other packages, compilers',
    needs: [nestPackages, redis],
    specs: ['verification/compatibility', 'verification/combinations'],
  },
  upgrade: {
    about: 'replicas of earlier builds beside those of this one',
    needs: [history, kubeApiserver],
    specs: ['verification/upgrade'],
  },
  observability: {
    about:
      'the alerts and the dashboard on a real Prometheus and a real API server',
    needs: [kubeApiserver, prometheus],
    specs: ['verification/observability'],
  },
  kustomize: {
    about: 'the overlays of deploy/kustomize on the real API server',
    needs: [kubeApiserver, kustomize],
    specs: ['verification/kustomize'],
  },
  dashboard: {
    about: 'the dashboard in a real browser',
    needs: [kubeApiserver, chromium],
    specs: ['verification/dashboard'],
  },
  sample: {
    about: 'the demo of the samples, with the rights of their manifests',
    needs: [kubeApiserver],
    specs: ['verification/sample'],
  },
};

const SKIPPED = 'SKIPPED';
const LACKING = `${SKIPPED}, which is no failure`;

const USAGE = `Usage: npm run verify -- [--list] [SUITE ...]
       npm run verify -- SUITE OPTIONS

Runs the suites that are named, or all: ${Object.keys(SUITES).join(', ')}.
--list says what each is for, and what it needs. Options are for the program of one suite, or else for Vitest;
SUITE --help shows them.`;

const [names, rest] = splitArguments(process.argv.slice(2));
const mistake = findMistake(names, rest);
if (names.length === 0 && rest[0] === '--help') {
  console.log(USAGE);
} else if (mistake !== undefined) {
  refuse(USAGE, [mistake]);
} else if (rest[0] === '--list') {
  for (const [name, { about, needs }] of Object.entries(SUITES)) {
    const needed = needs.map(({ what }) => what).join('; ') || 'nothing';
    console.log(
      `${name.padEnd(15)} ${about}\n${' '.repeat(16)}needs ${needed}`,
    );
  }
} else {
  await runSuites(names.length > 0 ? names : Object.keys(SUITES), rest);
}

/** @returns names of suites, and then options, which are for the one that is named */
function splitArguments(
  args: readonly string[],
): [names: string[], options: string[]] {
  const found = args.findIndex((arg) => arg.startsWith('-'));
  const end = found === -1 ? args.length : found;
  return [args.slice(0, end), args.slice(end)];
}

function findMistake(
  suites: readonly string[],
  options: readonly string[],
): string | undefined {
  const unknown = suites.filter((name) => SUITES[name] === undefined);
  if (unknown.length > 0) {
    return `There is no suite ${unknown.join(', ')}, but ${Object.keys(SUITES).join(', ')}.`;
  }
  if (options.length > 0 && options[0] !== '--list' && suites.length !== 1) {
    return `Name the one suite that ${options.join(' ')} is for.`;
  }
  const paths = Object.values(SUITES).flatMap(({ specs = [] }) => specs);
  const left = specsIn('verification').filter(
    (spec) => !paths.some((path) => spec.startsWith(path)),
  );
  return left.length > 0 ? `No suite has ${left.join(', ')}.` : undefined;
}

async function runSuites(
  suites: readonly string[],
  options: readonly string[],
): Promise<void> {
  const results: string[] = [];
  for (const name of suites) {
    console.log(`\n== ${name}: ${SUITES[name]!.about}\n`);
    const startedAt = performance.now();
    // oxlint-disable-next-line no-await-in-loop -- each has the machine for itself
    const result = await runSuite(SUITES[name]!, options);
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
    results.push(`${name.padEnd(15)} ${seconds.padStart(5)} s  ${result}`);
    const isGood =
      result === 'passed' ||
      result.startsWith(LACKING) ||
      (result.startsWith(SKIPPED) && process.env.CI !== 'true');
    process.exitCode ||= isGood ? 0 : 1;
  }
  console.log(`\n${results.join('\n')}`);
}

/**
 * With options, what they are for is all that runs: the program of the suite, or else its specs, by Vitest.
 *
 * @returns how it ended
 */
async function runSuite(
  { needs, specs, program }: Suite,
  options: readonly string[],
): Promise<string> {
  for (const need of options.includes('--help') ? [] : needs) {
    try {
      // oxlint-disable-next-line no-await-in-loop -- what one has made, the next may use
      await need.obtain();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      console.error(message);
      const how = need.isOfCheckout ? LACKING : SKIPPED;
      return `${how}: ${message.split('\n', 1)[0]}`;
    }
  }
  const steps: string[][] = [];
  const folder = mkdtempSync(join(tmpdir(), 'verify-'));
  const report = join(folder, 'report.json');
  if (specs && !(program && options.length > 0)) {
    const vitest = join(
      dirname(createRequire(import.meta.url).resolve('vitest/package.json')),
      'vitest.mjs',
    );
    const config = ['--config', 'verification/vitest.config.mts'];
    const more = program ? [] : options;
    const reports = [
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ];
    steps.push([vitest, 'run', ...config, ...reports, ...specs, ...more]);
  }
  if (program) {
    steps.push(['verification/run.mjs', ...program, ...options]);
  }
  const hasServer = needs.includes(kubeApiserver);
  try {
    for (const step of steps) {
      const running = spawn(process.execPath, step, {
        cwd: root,
        stdio: 'inherit',
        env: { ...process.env, ...(!hasServer && { KUBE_APISERVER: 'none' }) },
      });
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const [code, signal] = await once(running, 'close');
      if (code === 2) {
        process.exitCode = 2; // its options are wrong
      }
      if (code !== 0) {
        const command = step[0]!.endsWith('vitest.mjs') ? 'its specs' : step[1];
        return [
          `FAILED (${code ?? signal}): ${command}`,
          ...failuresIn(report),
        ].join('\n');
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return 'passed';
}

/** What failed, so that the end of the output tells it: a log may keep no more. */
function failuresIn(report: string): string[] {
  if (!existsSync(report)) {
    return [];
  }
  const { testResults }: VitestReport = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  return testResults.flatMap(({ name, message, assertionResults }) => {
    const failed = assertionResults.filter(({ status }) => status === 'failed');
    const file = relative(root, name);
    return failed.length > 0
      ? failed.map(
          ({ fullName, failureMessages }) =>
            `  ${file}: ${fullName}\n${indented(failureMessages.join('\n'))}`,
        )
      : message
        ? [`  ${file}\n${indented(message)}`]
        : [];
  });
}

/** The message and its place, without the frames of the test runner, which names no reason for a timeout. */
function indented(text: string): string {
  return text
    .replace('STACK_TRACE_ERROR', 'the test timed out')
    .split('\n')
    .filter((line) => !line.includes('node_modules'))
    .slice(0, 12)
    .map((line) => `    ${line}`)
    .join('\n');
}

/** The specs of `npm test` that run on whatever API server they are given. */
function specsOnServer(): string[] {
  return specsIn('test').filter((path) =>
    /describeOnServer\(|inject\('kubeApiserver'\)/.test(
      readFileSync(join(root, path), 'utf8'),
    ),
  );
}

function specsIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.spec.ts'))
    .map((path) => join(folder, path));
}
