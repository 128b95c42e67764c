/** Gives the whole test run one fresh build for the processes that its tests start. */
import type { TestProject } from 'vitest/node';
import { buildForProcesses, removeBuild } from './build.js';

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
