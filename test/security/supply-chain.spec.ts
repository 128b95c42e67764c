/** What comes with the package, and how it is published: as little, and with as few rights, as there can be. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadAllYaml } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import lock from '../../package-lock.json' with { type: 'json' };
import manifest from '../../package.json' with { type: 'json' };

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): Promise<string> =>
  readFile(join(root, path), 'utf8');

type Permissions = Readonly<Record<string, string>>;

interface Workflow {
  readonly on: Readonly<Record<string, unknown>>;
  readonly permissions?: Permissions;
  readonly jobs: Readonly<
    Record<
      string,
      {
        readonly permissions?: Permissions;
        readonly uses?: string;
        readonly steps?: readonly {
          readonly uses?: string;
          readonly run?: string;
          readonly with?: Readonly<Record<string, unknown>>;
        }[];
      }
    >
  >;
}

describe('the package', () => {
  it('depends on nothing but what an application on Kubernetes has anyway', () => {
    expect(
      Object.keys(manifest).filter((key) =>
        /^(dependencies|optionalDependencies|bundle(d)?Dependencies)$/.test(
          key,
        ),
      ),
    ).toEqual([]);
    const { peerDependencies, peerDependenciesMeta } = manifest;
    const optional = Object.keys(peerDependenciesMeta);
    const required = Object.keys(peerDependencies).filter(
      (name) => !optional.includes(name),
    );
    expect(required.toSorted()).toEqual([
      '@kubernetes/client-node',
      '@nestjs/common',
      '@nestjs/core',
      'reflect-metadata',
      'rxjs',
    ]);
    expect(optional.toSorted()).toEqual([
      '@nestjs/schedule',
      '@nestjs/terminus',
      '@opentelemetry/api',
    ]);
  });

  it('runs nothing when it is installed', () => {
    expect(
      Object.keys(manifest.scripts).filter((name) =>
        /^(pre|post)?(install|prepare)$/.test(name),
      ),
    ).toEqual([]);
  });

  it('is published with provenance, and not by hand', () => {
    expect(manifest.publishConfig).toEqual({
      access: 'public',
      provenance: true,
    });
  });
});

describe('what the build and the tests use', () => {
  const packages = Object.entries(lock.packages).filter(
    ([path]) => path !== '',
  );

  it('is locked with its hash, and with no address of a registry', () => {
    expect(packages.length).toBeGreaterThan(100);
    const faults = packages
      .filter(([, entry]) => !('integrity' in entry) || 'resolved' in entry)
      .map(([path]) => path);
    expect(faults).toEqual([]);
  });
});

describe('the workflows', async () => {
  const folder = '.github/workflows';
  const names = await readdir(join(root, folder));
  const workflows = await Promise.all(
    names.map(async (name): Promise<[string, Workflow]> => {
      const [workflow] = loadAllYaml(await read(join(folder, name)));
      return [name, workflow];
    }),
  );
  const all = workflows.flatMap(([name, { jobs }]) =>
    Object.values(jobs).flatMap(({ uses, steps = [] }) =>
      [{ uses }, ...steps].map((step) => ({ name, ...step })),
    ),
  );

  it('may read, and nothing else, but for the job that publishes, which proves who it is', () => {
    const granted = workflows.flatMap(([name, { permissions, jobs }]) => [
      `${name}: ${JSON.stringify(permissions)}`,
      ...Object.entries(jobs)
        .filter(([, job]) => job.permissions !== undefined)
        .map(
          ([job, { permissions: own }]) =>
            `${name} ${job}: ${JSON.stringify(own)}`,
        ),
    ]);
    expect(granted.toSorted()).toEqual([
      'audit.yml: {"contents":"read"}',
      'ci.yml: {"contents":"read"}',
      'release.yml publish: {"contents":"read","id-token":"write"}',
      'release.yml: {"contents":"read"}',
    ]);
  });

  it('use actions of known commits, and leave no token in the checkout', () => {
    const used = all.flatMap(({ uses }) => uses ?? []);
    expect(used.length).toBeGreaterThan(names.length);
    expect(
      used.filter(
        (each) => !/^(\.\/|actions\/[-a-z]+@[0-9a-f]{40}$)/.test(each),
      ),
    ).toEqual([]);
    const checkouts = all.filter(({ uses }) =>
      uses?.startsWith('actions/checkout@'),
    );
    expect(checkouts.length).toBe(3);
    for (const checkout of checkouts) {
      expect(checkout).toMatchObject({
        with: { 'persist-credentials': false },
      });
    }
  });

  it('have no secret, run nothing of a stranger with rights, and put no text from outside into a script', async () => {
    for (const [name, { on }] of workflows) {
      const source = await read(join(folder, name));
      expect(source).not.toContain('secrets.');
      expect(Object.keys(on)).not.toContain('pull_request_target');
      expect(Object.keys(on)).not.toContain('workflow_run');
    }
    expect(all.filter(({ run }) => run?.includes('${{'))).toEqual([]);
  });

  it('run what is run here, and publish nothing that has not passed it', async () => {
    const byName = new Map(workflows);
    expect(byName.get('ci.yml')!.jobs.check!.steps!.at(-1)).toEqual({
      run: '.ci/run',
    });
    const { check, publish } = byName.get('release.yml')!.jobs;
    expect(check).toEqual({ uses: './.github/workflows/ci.yml' });
    expect(publish).toMatchObject({ needs: 'check' });
    expect(publish!.steps!.at(-1)!.run).toBe(
      'npm publish --provenance --access public',
    );
  });
});
