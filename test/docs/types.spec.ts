/** Compiles every TypeScript example of the pages, and the mistakes that the compiler must refuse, in one run. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { writePrograms } from './program.js';
import { findBlocks, findCode, findItems, type Block } from './pages.js';

const run = promisify(execFile);

/** One class each, that must not compile. */
const REFUSED: Block[] = [
  refused('not-async', `@WithLeaseLock('name')\n  run() {}`),
  refused(
    'other-parameters',
    '@WithLeaseLock((id: number) => `order-${id}`)\n  async run(_id: string) {}',
  ),
  refused(
    'never-undefined',
    `@WithLeaseLock('name', { onLocked: 'skip' })\n  async run() { return 'ran'; }`,
  ),
  refusedLeader('leader-not-async', 'run() {}'),
  refusedLeader('leader-never-undefined', `async run() { return 'ran'; }`),
  refused('static', `@WithLeaseLock('name')\n  static async run() {}`),
];

/** What the compiler says, by the block that it says it of. */
const messages = new Map<string, string>();

beforeAll(async () => {
  await using programs = await writePrograms(REFUSED);
  const project = join(programs.folder, 'tsconfig.json');
  const root = join(programs.folder, '../../..');
  await writeFile(
    project,
    JSON.stringify({
      extends: relative(programs.folder, join(root, 'tsconfig.json')),
      compilerOptions: {
        noEmit: true,
        rootDir: root,
        // An example need not use all that it shows.
        noUnusedLocals: false,
        noUnusedParameters: false,
      },
      include: ['*.ts'],
    }),
  );
  const compiler = join(
    dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
    'bin/tsc',
  );
  const { stdout } = await run(
    process.execPath,
    [compiler, '-p', project, '--pretty', 'false'],
    { cwd: programs.folder },
  ).catch((error: { stdout: string }) => error);
  for (const [, id = '', message = ''] of stdout.matchAll(
    /^([\w-]+)\.ts\(\d+,\d+\): (error .*(?:\n .*)*)/gm,
  )) {
    messages.set(id, [messages.get(id), message].filter(Boolean).join('\n'));
  }
});

it.each(findBlocks('ts').map(({ id }) => id))(
  'the example %s compiles',
  (id) => {
    expect(messages.get(id)).toBeUndefined();
  },
);

it('what must not compile does not, with the quoted messages', () => {
  const quoted = findItems('## Messages of the compiler').flatMap(findCode);
  expect(quoted).toEqual(REFUSED.map(() => expect.any(String)));
  expect(REFUSED.map(({ id }) => messages.get(id))).toEqual(
    quoted.map((message) => expect.stringContaining(message)),
  );
});

function refusedLeader(id: string, method: string): Block {
  const { language, code } = refused(id, `@LeaderOnly('name')\n  ${method}`);
  const imports = `import { LeaderOnly } from 'nestjs-k8s-lock/leader';\n`;
  return { language, id, code: imports + code };
}

function refused(id: string, method: string): Block {
  const code = `@Injectable()\nexport class Refused {\n  ${method}\n}\n`;
  return { language: 'ts', id, code };
}
