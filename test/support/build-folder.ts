/** Where the build of this run is, which `test/build-setup.ts` makes. */
import { inject } from 'vitest';

/** What a test file gets from `inject('build')`. */
type ProvidedBuild =
  | { folder: string }
  /** It does not compile. Only the tests that need it fail for it. */
  | { failed: string };

declare module 'vitest' {
  export interface ProvidedContext {
    build: ProvidedBuild;
  }
}

/** @throws when it did not compile: only the tests that need it fail for that */
export function buildFolder(): string {
  const build = inject('build');
  if ('failed' in build) {
    throw new Error(build.failed);
  }
  return build.folder;
}
