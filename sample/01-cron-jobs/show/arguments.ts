/** The command line: what it may say, and what is wrong with what it says. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

export interface Arguments {
  /** Run against the cluster of the local kubeconfig. */
  readonly cluster: boolean;
  /** Give each replica a lock of its own, which is as good as none. */
  readonly withoutLock: boolean;
  /** How long the replicas run, in seconds. */
  readonly seconds: number;
}

/** The command line is wrong; the message says what to do. */
export class ArgumentError extends Error {}

const SHORTEST = 10;
const LONGEST = 3_600;

export const USAGE = `Usage: npm start -- [options]

  --cluster        run against the cluster of your kubeconfig (KUBECONFIG or ~/.kube/config)
                   instead of an embedded API server
  --seconds N      how long the replicas run, ${SHORTEST} to ${LONGEST}; default 18
  --without-lock   give each replica a lock of its own, to see what the lock is good for: fails
  --help           print this

Exit code 0: no two replicas worked at the same time, and the killed one's work was taken over.
`;

/** Undefined when help was asked for. */
export function readArguments(args: string[]): Arguments | undefined {
  const values = parse(args);
  if (values.help) {
    return undefined;
  }
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < SHORTEST || seconds > LONGEST) {
    throw new ArgumentError(
      `--seconds must be a whole number from ${SHORTEST} to ${LONGEST}, not "${values.seconds}"`,
    );
  }
  if (values.cluster) {
    requireKubeconfig();
  }
  return {
    cluster: values.cluster,
    withoutLock: values['without-lock'],
    seconds,
  };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        cluster: { type: 'boolean', default: false },
        seconds: { type: 'string', default: '18' },
        'without-lock': { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    throw new ArgumentError(
      error instanceof Error ? error.message : String(error),
    );
  }
}

function requireKubeconfig(): void {
  const { KUBECONFIG } = process.env;
  const paths = KUBECONFIG
    ? KUBECONFIG.split(':')
    : [join(homedir(), '.kube', 'config')];
  if (!paths.some((path) => existsSync(path))) {
    throw new ArgumentError(
      `--cluster needs a kubeconfig, and ${paths.join(', ')} does not exist: set KUBECONFIG to the path of one`,
    );
  }
}
