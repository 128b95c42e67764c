/** What a command line means: names that look like flags, and the formats of each command. */
import { describe, expect, it } from 'vitest';
import {
  commandIn,
  COMMANDS,
  readCommandLine,
  UsageError,
} from '../../lib/cli/arguments.js';

describe('what stands after --', () => {
  it.each([
    [['inspect', '--', '-x'], ['-x'], []],
    [['inspect', '--', '--force'], ['--force'], []],
    [['doctor', 'a', '--', '-b', '--'], ['a', '-b', '--'], []],
    [['run', 'job', '--', 'env', '--', '-x'], ['job'], ['env', '--', '-x']],
    [['run', '--', '-x', '--', 'env', '--'], ['-x'], ['env', '--']],
    [['run', '--skip', '--', '--', '--', 'env'], ['--'], ['env']],
  ])('of %j are names or a program', (args, parameters, program) => {
    expect(readCommandLine(args)).toMatchObject({ parameters, program });
  });

  it.each([
    [['inspect', 'a', '--', 'b'], 'inspect takes NAME, not "a" "b"'],
    [['list', '--', 'a'], 'list takes no parameter, not "a"'],
    [['run', '--', 'env'], 'run takes NAME -- COMMAND…, not nothing'],
    [['run', '--', '-x', '--'], 'run needs a command after --'],
  ])('of %j is too much or too little', (args, message) => {
    expect(() => readCommandLine(args)).toThrow(new UsageError(message));
  });
});

describe('the formats', () => {
  const TAKEN: Record<string, string[]> = {
    list: ['json', 'yaml', 'wide', 'name'],
    inspect: ['json', 'yaml', 'wide', 'name'],
    watch: ['json', 'yaml', 'wide'],
    history: ['json', 'yaml'],
    release: ['json', 'yaml'],
    doctor: ['json', 'yaml'],
  };

  it.each(Object.entries(COMMANDS))('of %s', (command, { flags, takes }) => {
    const names = Array.from({ length: takes[0] }, (_, index) => `n${index}`);
    const force = command === 'release' ? ['--force'] : [];
    const program = command === 'run' ? ['--', 'env'] : [];
    const takesIt = (format: string): boolean => {
      try {
        readCommandLine(
          [command, ...names, '-o', format, ...force].concat(program),
        );
        return true;
      } catch {
        return false;
      }
    };
    const taken = TAKEN.list!.filter(takesIt);
    expect(taken).toEqual(TAKEN[command] ?? []);
    expect(flags.some((flag) => flag === 'output')).toBe(taken.length > 0);
  });

  it('of a watch are those of watch, by whichever command', () => {
    expect(() => readCommandLine(['list', '-w', '-o', 'name'])).toThrow(
      '--output of watch must be json, yaml or wide, not "name"',
    );
  });
});

it.each([
  [['inspect', 'run'], 'inspect'],
  [['-n', 'list', 'run', '--what', '--', 'inspect'], 'run'],
  [['-o'], undefined],
])('the command in %j is %s', (args, command) => {
  expect(commandIn(args)).toBe(command);
});
