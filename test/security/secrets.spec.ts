/** Credentials stay where they belong: whatever fails, and however carelessly it is logged, none of them comes out. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StubApi } from '../kube/stub-api.js';
import { Program } from '../package/program.js';
import { buildFolder } from '../support/build-folder.js';
import { echo, onlyCreate } from './failing-servers.js';
import { controlOf, prepareFailures, type Failures } from './failures.js';
import type { FailingApp } from './programs/failing-apps.js';
import { findSecrets } from './secrets.js';

/** For processes, on a busy machine. */
const TIMEOUT = 120_000;

const PROGRAM = 'test/security/programs/failing-apps.js';

/** Runs the applications in a process of their own; what each of them printed, by its name. */
async function runApps(
  apps: readonly FailingApp[],
): Promise<ReadonlyMap<string, string>> {
  const folder = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    const file = join(folder, 'apps.json');
    await writeFile(file, JSON.stringify(apps), { mode: 0o600 });
    const program = new Program(
      process.execPath,
      [join(buildFolder(), PROGRAM), file],
      { cwd: folder },
    );
    const output = await program.succeeds();
    const sections = output.split(/^# /m).slice(1);
    return new Map(
      sections.map((text): [string, string] => [text.split('\n', 1)[0]!, text]),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('a search for secrets', () => {
  const secret = 'p:@ss/word-1f0c';
  const secrets = { secret };

  it.each([
    ['plain', `Bearer ${secret}`],
    ['in a URL', `http://me:${encodeURIComponent(secret)}@host`],
    ['in Basic authentication', base64(`me:${secret}`)],
    ['in base64, elsewhere', base64(`some:${secret}: more`)],
    ['in JSON', JSON.stringify({ a: { secret } })],
    ['in hexadecimal', Buffer.from(`a ${secret}`).toString('hex')],
    ['in a dump of bytes', [...Buffer.from(`x${secret}`)].join(',')],
  ])('finds one that is %s', (_, text) => {
    expect(findSecrets(`so: ${text}.`, secrets)).not.toEqual([]);
  });

  it('finds none where there is none', () => {
    const text = `Bearer p:@ss/word-1f0d ${base64('me:p:@ss/word')}`;
    expect(findSecrets(text, secrets)).toEqual([]);
  });
});

describe('what an application prints', { timeout: TIMEOUT }, () => {
  let failures: Failures;
  let printed: ReadonlyMap<string, string>;
  beforeAll(async () => {
    failures = await prepareFailures();
    // Two at a time: most of their time they wait for what fails.
    const halves = [0, 1].map((half) =>
      failures.apps.filter((_, index) => index % 2 === half),
    );
    const outputs = await Promise.all(halves.map(runApps));
    printed = new Map(outputs.flatMap((output) => [...output]));
  }, TIMEOUT);
  afterAll(() => failures?.[Symbol.asyncDispose]());

  it('is about the failure that it was to be about', () => {
    const unexpected = failures.apps
      .map(({ name, fails }) => {
        const output = printed.get(name) ?? '';
        const failed = [...output.matchAll(/^@ (.*)$/gm)].map(([, how]) => how);
        return { name, fails, failed };
      })
      .filter(({ fails, failed }) => !failed.includes(fails));
    expect(unexpected).toEqual([]);
  });

  it('has no credential in it, whatever fails', () => {
    const found = [...printed].flatMap(([name, output]) =>
      findSecrets(output, failures.secrets).map((what) => `${name}: ${what}`),
    );
    expect(found).toEqual([]);
  });

  it('is all of it: a secret that the work under a lock gives away is found', async () => {
    const secret = 'given-away-by-the-work';
    await using api = await StubApi.start(onlyCreate(echo(500)));
    const control = controlOf(api.url, secret);
    const output = (await runApps([control])).get(control.name)!;
    for (const where of [
      `Error: ${secret}`, // what the call rejects with
      `"type":"failed"`, // the event, whose error has it
      `message: '${secret}'`, // the status of the span
    ]) {
      expect(output).toContain(where);
    }
    expect(findSecrets(output, { secret })).not.toEqual([]);
  });
});
