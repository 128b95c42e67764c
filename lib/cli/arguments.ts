/** Reads the command line: the commands, their flags, and what is wrong with them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { quote } from '../printable.js';

/** A fault of the command line. */
export class UsageError extends Error {}

/** What `-o name` prints before the name of a Lease, and what stands for one as the name of a lock. */
export const LEASE_PREFIX = 'lease.coordination.k8s.io/';

interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** The value, in the usage. */
  readonly value?: string;
  readonly about: string;
}

/** Every flag, in the order of the usage. */
export const FLAGS = {
  namespace: {
    type: 'string',
    short: 'n',
    value: 'NAMESPACE',
    about: "The namespace. Default: the context's, or the pod's own.",
  },
  'all-namespaces': {
    type: 'boolean',
    short: 'A',
    about: 'The locks of all namespaces (needs a ClusterRole).',
  },
  context: {
    type: 'string',
    value: 'CONTEXT',
    about: 'The context of the kubeconfig. Default: the current one.',
  },
  kubeconfig: {
    type: 'string',
    value: 'FILE',
    about:
      "The kubeconfig. Default: the pod's own configuration, else KUBECONFIG, else ~/.kube/config.",
  },
  prefix: {
    type: 'string',
    value: 'PREFIX',
    about: 'The namePrefix with which the application is configured.',
  },
  output: {
    type: 'string',
    short: 'o',
    value: 'FORMAT',
    about:
      'json or yaml; of list and inspect also wide or name, of watch wide.',
  },
  selector: {
    type: 'string',
    short: 'l',
    value: 'LABELS',
    about: 'Only Leases with these labels: a=b, a!=b, a, !a, joined by commas.',
  },
  watch: { type: 'boolean', short: 'w', about: 'Go on, as watch does.' },
  force: {
    type: 'boolean',
    about: 'Take the lock from its holder, even if that is alive.',
  },
  slot: {
    type: 'string',
    value: 'NUMBER',
    about: 'The slot of a semaphore. Default: 0.',
  },
  wait: {
    type: 'string',
    value: 'SECONDS',
    about: 'Wait at most this long for the lock. Default: without limit.',
  },
  skip: {
    type: 'boolean',
    about: 'Do not wait: run the command only if no live holder has the lock.',
  },
  lease: {
    type: 'string',
    value: 'SECONDS',
    about: 'How long the lock outlives a crash of this machine. Default: 15.',
  },
  permits: {
    type: 'string',
    value: 'NUMBER',
    about: 'The permits of a semaphore. Default: 1, a lock.',
  },
  grace: {
    type: 'string',
    value: 'SECONDS',
    about:
      'From SIGTERM to SIGKILL when the lock is lost. Default: a fifth of the lease.',
  },
  port: { type: 'string', value: 'PORT', about: 'Default: a free one.' },
  help: { type: 'boolean', short: 'h', about: 'Show this.' },
  version: { type: 'boolean', about: 'Show the version.' },
} as const satisfies Record<string, Flag>;

type FlagName = keyof typeof FLAGS;

const CLUSTER = ['namespace', 'context', 'kubeconfig'] as const;

interface Command {
  readonly parameters: string;
  /** The least and the most number of parameters. */
  readonly takes: readonly [number, number];
  readonly about: string;
  readonly flags: readonly FlagName[];
  /** The formats of its output. Default: {@link FORMATS}. */
  readonly formats?: readonly string[];
}

const FORMATS: readonly string[] = ['json', 'yaml', 'wide', 'name'];
const DATA_FORMATS: readonly string[] = ['json', 'yaml'];

/** Every command, in the order of the usage. */
export const COMMANDS = {
  list: {
    parameters: '',
    takes: [0, 0],
    about: 'Lists locks and sessions.',
    flags: [
      ...CLUSTER,
      'all-namespaces',
      'prefix',
      'output',
      'selector',
      'watch',
    ],
  },
  inspect: {
    parameters: 'NAME',
    takes: [1, 1],
    about: 'Shows all that the record of a lock tells.',
    flags: [...CLUSTER, 'prefix', 'slot', 'output', 'watch'],
  },
  watch: {
    parameters: '[NAME]',
    takes: [0, 1],
    about: 'Shows a lock, or all of them, and each change.',
    flags: [...CLUSTER, 'prefix', 'slot', 'output', 'selector'],
    formats: [...DATA_FORMATS, 'wide'],
  },
  history: {
    parameters: 'NAME',
    takes: [1, 1],
    about: 'Shows what the record tells of the last holders and fires.',
    flags: [...CLUSTER, 'prefix', 'slot', 'output'],
    formats: DATA_FORMATS,
  },
  release: {
    parameters: 'NAME --force',
    takes: [1, 1],
    about: 'Takes a lock from its holder.',
    flags: [...CLUSTER, 'prefix', 'slot', 'force', 'output'],
    formats: DATA_FORMATS,
  },
  run: {
    parameters: 'NAME -- COMMAND…',
    takes: [1, 1],
    about: 'Holds a lock while a command runs.',
    flags: [...CLUSTER, 'prefix', 'wait', 'skip', 'lease', 'permits', 'grace'],
  },
  doctor: {
    parameters: '[NAME…]',
    takes: [0, Infinity],
    about:
      'Checks the cluster, the rights, the clocks and the Leases; of locks that are named, that there are no others.',
    flags: [...CLUSTER, 'prefix', 'output'],
    formats: DATA_FORMATS,
  },
  'dev-server': {
    parameters: '',
    takes: [0, 0],
    about:
      'Serves Leases on 127.0.0.1, kept in memory, for processes that are developed without a cluster, and writes a kubeconfig that leads there. Start each of them with KUBECONFIG set to that file.',
    flags: ['port', 'kubeconfig'],
  },
  completion: {
    parameters: 'bash|zsh|fish',
    takes: [1, 1],
    about: 'Prints the completion for a shell.',
    flags: [],
  },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof COMMANDS;

export type Flags = {
  -readonly [Name in FlagName]?: (typeof FLAGS)[Name]['type'] extends 'string'
    ? string
    : boolean;
};

/** A command line that was understood. */
export interface CommandLine {
  readonly command: CommandName;
  readonly parameters: readonly string[];
  readonly flags: Flags;
  /** What stands after `--`. */
  readonly program: readonly string[];
}

/** Reads a command line; a text is the help or the version that it asks for. @throws UsageError */
export function readCommandLine(args: readonly string[]): CommandLine | string {
  const end = args.indexOf('--');
  const own = end === -1 ? args : args.slice(0, end);
  const rest = end === -1 ? [] : args.slice(end + 1);
  const { values: flags, positionals } = parse(own);
  const [command, ...before] = positionals;
  if (command === undefined) {
    if (flags.help) {
      return usage();
    }
    if (flags.version) {
      return `${version()}\n`;
    }
    throw new UsageError('a command is missing');
  }
  if (!isCommand(command)) {
    throw new UsageError(`${quote(command)} is not a command`);
  }
  if (flags.help) {
    return usageOf(command);
  }
  const [after, program] = split(command, before, rest);
  const parameters = [...before, ...after];
  check(command, parameters, flags, program);
  return { command, parameters, flags, program };
}

/** What stands after `--`: parameters, which may begin with a dash, and the program of `run`, after another `--` if there are any. */
function split(
  command: CommandName,
  before: readonly string[],
  rest: readonly string[],
): [parameters: readonly string[], program: readonly string[]] {
  if (command !== 'run') {
    return [rest, []];
  }
  return before.length === 0 && rest[1] === '--'
    ? [rest.slice(0, 1), rest.slice(2)]
    : [[], rest];
}

/** The command whose usage helps with a faulty command line. */
export function commandIn(args: readonly string[]): CommandName | undefined {
  const { positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    strict: false,
    options: FLAGS,
  });
  const [first = ''] = positionals;
  return isCommand(first) ? first : undefined;
}

function parse(args: readonly string[]): {
  values: Flags;
  positionals: string[];
} {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: FLAGS,
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : '');
  }
}

function check(
  command: CommandName,
  parameters: readonly string[],
  flags: Flags,
  program: readonly string[],
): void {
  const spec: Command = COMMANDS[command];
  const wrong = Object.keys(flags).find(
    (flag) => !spec.flags.some((each) => each === flag),
  );
  if (wrong !== undefined) {
    throw new UsageError(`--${wrong} is not a flag of ${command}`);
  }
  const [least, most] = spec.takes;
  if (parameters.length < least || parameters.length > most) {
    throw new UsageError(
      `${command} takes ${spec.parameters || 'no parameter'}, not ${parameters.map(quote).join(' ') || 'nothing'}`,
    );
  }
  if (parameters.includes('')) {
    throw new UsageError('a lock name must not be empty');
  }
  if (command === 'run' && program.length === 0) {
    throw new UsageError('run needs a command after --');
  }
  if (command === 'release' && !flags.force && flags.output !== undefined) {
    throw new UsageError('release needs --force');
  }
  if (flags.namespace !== undefined && flags['all-namespaces']) {
    throw new UsageError('--namespace and --all-namespaces exclude each other');
  }
  const lease = parameters.find((name) => name.startsWith(LEASE_PREFIX));
  if (lease !== undefined && flags.slot !== undefined) {
    throw new UsageError(
      `--slot must not be given with ${quote(lease)}, which names the Lease of one slot`,
    );
  }
  if (flags.wait !== undefined && flags.skip) {
    throw new UsageError('--wait and --skip exclude each other');
  }
  const formats = flags.watch
    ? COMMANDS.watch.formats
    : (spec.formats ?? FORMATS);
  if (flags.output !== undefined && !formats.includes(flags.output)) {
    throw new UsageError(
      `--output of ${flags.watch ? 'watch' : command} must be ${formats.slice(0, -1).join(', ')} or ${formats.at(-1)}, not ${quote(flags.output)}`,
    );
  }
}

/** The number that a flag has; undefined without it. @throws UsageError */
export function numberOf(
  flags: Flags,
  name: 'wait' | 'lease' | 'permits' | 'grace' | 'slot',
  { least, whole = false }: { least: number; whole?: boolean },
): number | undefined {
  const text = flags[name];
  if (text === undefined) {
    return undefined;
  }
  const value = Number(text);
  const isNumber = /^\d+(\.\d+)?$/.test(text) && value <= 1_000_000;
  if (!isNumber || value < least || (whole && !Number.isInteger(value))) {
    throw new UsageError(
      `--${name} must be a ${whole ? 'whole ' : ''}number from ${least} to 1000000, not ${quote(text)}`,
    );
  }
  return value;
}

function isCommand(text: string): text is CommandName {
  return Object.hasOwn(COMMANDS, text);
}

export function usage(): string {
  const lines = Object.entries(COMMANDS).map(
    ([name, { parameters, about }]) =>
      `  ${`${name} ${parameters}`.padEnd(26)} ${about.split(/[,.] /, 1)[0]!.replace(/\.$/, '')}.`,
  );
  return `Usage: nestjs-k8s-lock COMMAND

${lines.join('\n')}

nestjs-k8s-lock COMMAND --help shows the flags of a command, and --version the version.
`;
}

/** Of this package. */
function version(): string {
  const file = join(__dirname, '../../package.json');
  return JSON.parse(readFileSync(file, 'utf8')).version;
}

export function usageOf(command: CommandName): string {
  const { parameters, about, flags }: Command = COMMANDS[command];
  const shown = [...flags, 'help' as const].map((name) => {
    const flag: Flag = FLAGS[name];
    const short = flag.short === undefined ? '   ' : `-${flag.short},`;
    const long = `--${name}${flag.value ? ` ${flag.value}` : ''}`;
    return `  ${short} ${long.padEnd(24)} ${flag.about}`;
  });
  return `Usage: nestjs-k8s-lock ${command} ${parameters}${parameters ? ' ' : ''}[FLAGS]

${about}

${shown.join('\n')}
`;
}
