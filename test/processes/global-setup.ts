/** Gives the whole test run one fresh build for the processes that its tests start. */
import type { TestProject } from 'vitest/node';
import { buildForProcesses, removeBuild } from '../build.js';

/** What a test file gets from `inject('build')`. */
export type ProvidedBuild =
  | { folder: string }
  /** It does not compile. Only the tests that need it fail for it. */
  | { failed: string };

declare module 'vitest' {
  export interface ProvidedContext {
    build: ProvidedBuild;
  }
}

export default async function setup(
  project: TestProject,
): Promise<() => Promise<void>> {
  const provide = async (): Promise<void> => {
    project.provide(
      'build',
      await buildForProcesses().then(
        (folder) => ({ folder }),
        (error: Error) => ({ failed: error.message }),
      ),
    );
  };
  await provide();
  project.onTestsRerun(provide);
  return removeBuild;
}
