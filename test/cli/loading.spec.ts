/** What the command line loads: what needs no cluster waits neither for Nest nor for the engine. */
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { Cli } from './cli.js';

const cli = new Cli();
const noted = join(cli.folder, 'loaded.cjs');
writeFileSync(
  noted,
  `process.once('exit', () => {
    const files = Object.keys(require.cache).filter((file) => file !== __filename);
    process.stderr.write(JSON.stringify(files) + '\\n');
  });`,
);

/** The command line alone: no file of a package, and none that imports one. */
const ALONE = ['arguments.js', 'main.js', 'output.js', 'printable.js'];

it.each([
  [['--help'], 0, 'Usage: nestjs-k8s-lock COMMAND', ALONE],
  [['list', '--help'], 0, 'Usage: nestjs-k8s-lock list', ALONE],
  [['--version'], 0, `${manifest.version}\n`, ALONE],
  [['lsit'], 2, '', ALONE],
  [['list', '--version'], 2, '', ALONE],
  [['completion', 'zsh'], 0, '#compdef', [...ALONE, 'completion.js']],
])('of %j', async (args, code, beginning, files) => {
  const ended = await cli.run(args, { NODE_OPTIONS: `--require ${noted}` });
  expect(ended).toMatchObject({
    code,
    stdout: expect.stringMatching(new RegExp(`^${beginning}`)),
  });
  const loaded: string[] = JSON.parse(ended.stderr.trim().split('\n').at(-1)!);
  expect(loaded.map((file) => basename(file)).toSorted()).toEqual(
    files.toSorted(),
  );
});
