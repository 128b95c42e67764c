/** How much of the package one uncontended call enters: what somebody has to read who wants to follow it. */
import { expect, it } from 'vitest';
import { runBuilt } from './program.js';

/**
 * To be lowered by each change that makes the way shorter, and raised by none. Some functions more than are
 * usual: which of two answers comes first makes a difference of a few.
 */
const MOST_FILES = 49;
const MOST_FUNCTIONS = 350;

it('one fire of a locked @Cron method enters no more files and functions than it did', async () => {
  const output = await runBuilt('call-path');
  const path: Record<string, string[]> = JSON.parse(
    /^\{.*\}$/m.exec(output)![0],
  );
  // The measurement sees the call at all.
  expect(path).toHaveProperty(['lock/acquire/acquirer.js']);
  const files = Object.keys(path);
  const functions = Object.values(path).flat();
  // In place of a number: it is the whole path that a failure prints.
  expect(files.length > MOST_FILES ? path : 'few files').toBe('few files');
  expect(functions.length > MOST_FUNCTIONS ? path : 'few functions').toBe(
    'few functions',
  );
}, 60_000);
