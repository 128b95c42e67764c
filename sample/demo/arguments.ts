/** The command line of the demo. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/** The command line is wrong; the message says what to do. */
export class ArgumentError extends Error {}

export interface Arguments {
  /** The folder of the sample. */
  readonly sample: string;
  /** Run against the cluster of the local kubeconfig. */
  readonly cluster: boolean;
  /** Give each replica its own locks, which keep nobody out. */
  readonly withoutLock: boolean;
  /** Let the replicas run on at the end, until it is interrupted. */
  readonly keep: boolean;
  /** Undefined = as long as the sample needs. */
  readonly seconds: number | undefined;
}

/**
 * @returns undefined when help was asked for
 * @throws ArgumentError
 */
export function readArguments(
  args: string[],
  samples: readonly string[],
): Arguments | undefined {
  const { values, positionals } = parse(args);
  if (values.help) {
    return undefined;
  }
  const [sample = samples[0]!, ...more] = positionals;
  if (!samples.includes(sample) || more.length > 0) {
    throw new ArgumentError(
      `"${positionals.join(' ')}" is not one of the samples ${samples.join(', ')}`,
    );
  }
  if (values.cluster) {
    requireKubeconfig();
  }
  return {
    sample,
    cluster: values.cluster,
    withoutLock: values['without-lock'],
    keep: values.keep,
    seconds: values.seconds === undefined ? undefined : read(values.seconds),
  };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        cluster: { type: 'boolean', default: false },
        seconds: { type: 'string' },
        keep: { type: 'boolean', default: false },
        'without-lock': { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new ArgumentError(error instanceof Error ? error.message : '');
  }
}

function read(seconds: string): number {
  const number = Number(seconds);
  if (!Number.isInteger(number) || number < 1 || number > 3_600) {
    throw new ArgumentError(
      `--seconds must be a whole number from 1 to 3600, not "${seconds}"`,
    );
  }
  return number;
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
