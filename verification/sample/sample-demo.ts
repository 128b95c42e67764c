/** The demo of the samples, as a process, and what it prints when all goes well. */
import { join } from 'node:path';
import { Program } from '../../test/package/program.js';
import type { Sample } from '../../test/sample/samples.js';
import { buildFolder } from '../../test/support/build-folder.js';

const NO_DOUBLES = [/^ +overlaps +0 /m, /^ +low tokens +0 /m, /^OK: /m];

const GOOD_END: Readonly<Record<Sample, readonly RegExp[]>> = {
  '01-cron-jobs': [
    /^ +\d+\.\d\d +replica-\d +RUN +fencing token \d+/m,
    /^ +\d+\.\d\d +client +423 +.*Retry-After: \d+ +\{.*"lock":"invoices"/m,
    /^ +\d+\.\d\d +replica-\d +KILL +kill -9 \d+/m,
    /^ +replica-\d +[1-9]\d* +\d+ +killed at work$/m,
    /^ +takeover +\d+\.\d\d s /m,
    ...NO_DOUBLES,
  ],
  '02-http': [
    /client +423 +\/orders\/b-1 to replica-2.* Retry-After: \d+ +\{.*"lock":"order-b-1"/,
    /client +201 +\/orders\/b-2\/settlement to replica-2/,
    /client +gone +away, while its request waits$/m,
    /replica-3 +stop +waiting: its client is gone$/m,
    /client +204 +\/orders\/reminders to replica-2/,
    /client +503 +\/orders\/c-1\/settlement to replica-1.*"LockLostError"/,
    /client +201 +\/orders\/c-1\/settlement to replica-2/,
    /^ +POST \/orders\/:id\/settlement +'wait' +201: \d+/m,
    /^ +side by side +[1-9]\d* /m,
    ...NO_DOUBLES,
  ],
  '03-once-per-fire': [
    /^ +runs +[1-9]\d* +[1-9]\d*$/m,
    /^ +doubles +0 +[1-9]\d*$/m,
    /^ +missed +0 +\d+$/m,
    ...NO_DOUBLES,
  ],
};

export function startDemo(args: string[], env?: NodeJS.ProcessEnv): Program {
  return new Program(
    process.execPath,
    [join(buildFolder(), 'sample/demo/main.js'), ...args],
    { cwd: buildFolder(), env },
  );
}

/** The lines of a good end that were not printed, and then what was. */
export function findMissing(
  sample: Sample,
  output: string,
): (RegExp | string)[] {
  const missing = GOOD_END[sample].filter((line) => !line.test(output));
  return missing.length === 0 ? [] : [...missing, output];
}
