/** Runs every TypeScript example of the pages. */
import { Logger } from '@nestjs/common';
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  it,
  vi,
} from 'vitest';
import { writePrograms } from './program.js';
import { findBlocks } from './pages.js';
import { dashboard } from './snippets/dashboard.js';
import { decorated } from './snippets/decorated.js';
import { http } from './snippets/http.js';
import { leader } from './snippets/leader.js';
import { locks } from './snippets/locks.js';
import { observability } from './snippets/observability.js';
import { semaphores } from './snippets/semaphores.js';
import { setUp } from './snippets/set-up.js';
import type { SnippetTest } from './snippets/snippet-test.js';

const TESTS: Record<string, SnippetTest> = {
  ...setUp,
  ...locks,
  ...dashboard,
  ...decorated,
  ...http,
  ...observability,
  ...leader,
  ...semaphores,
};
/** The examples that are test files themselves. */
const TEST_FILES = ['testing', 'testing-server'];

const programs = await writePrograms();
const load = (id: string) => import(programs.pathOf(id));

beforeAll(() => Logger.overrideLogger(false));
afterEach(() => {
  vi.resetAllMocks();
  vi.restoreAllMocks();
});
afterAll(() => programs[Symbol.asyncDispose]());

const ids = findBlocks('ts').map(({ id }) => id);

it('has a test for each example, and no other', () => {
  expect([...Object.keys(TESTS), ...TEST_FILES].toSorted()).toEqual(
    ids.toSorted(),
  );
});

describe.each(ids.filter((id) => id in TESTS))('the example %s', (id) => {
  // oxlint-disable-next-line vitest/expect-expect -- its test has the assertions
  it('does what it says', () => TESTS[id]!(() => load(id)));
});

describe.each(TEST_FILES)('the example %s', async (id) => {
  await load(id);
});
