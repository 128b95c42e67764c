/** What comes with the package, and how it is published: as little as there can be. The workflows are checked by .ci/lint-workflows. */
import { describe, expect, it } from 'vitest';
import lock from '../../package-lock.json' with { type: 'json' };
import manifest from '../../package.json' with { type: 'json' };

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
