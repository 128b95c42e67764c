/** The form of a test that runs one example of the pages. */
import type { LockService } from '../../../lib/index.js';

/** Runs the example; `load` imports the module that it has become. */
export type SnippetTest = (load: <T>() => Promise<T>) => Promise<void>;

/** What a block of loose statements has become; most need `locks`. */
export interface Statements<T = void> {
  default(locks?: LockService): Promise<T>;
}
