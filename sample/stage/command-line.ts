/** The command line of a show: what is wrong with it, and what the exit code says. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The command line is wrong; the message says what to do. */
export class ArgumentError extends Error {}

export interface Show<Options> {
  readonly usage: string;
  /**
   * Undefined when help was asked for.
   *
   * @throws ArgumentError, or what `parseArgs` throws
   */
  readonly read: (args: string[]) => Options | undefined;
  /** Resolves with whether all went well, when nothing is left running. */
  readonly perform: (
    options: Options,
    interrupt: AbortSignal,
  ) => Promise<boolean>;
}

/** Resolves with the exit code: 1 = it failed, 2 = the command line is wrong, 130 = it was interrupted. */
export async function runShow<Options>({
  usage,
  read,
  perform,
}: Show<Options>): Promise<number> {
  let options: Options | undefined;
  try {
    options = read(process.argv.slice(2));
  } catch (error) {
    if (!isArgumentFault(error)) {
      throw error;
    }
    process.stderr.write(`${error.message}\n\n${usage}`);
    return 2;
  }
  if (options === undefined) {
    process.stdout.write(usage);
    return 0;
  }
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => interrupt.abort(signal));
  }
  const isGood = await perform(options, interrupt.signal);
  if (interrupt.signal.aborted) {
    process.stdout.write(`\nEnded by ${String(interrupt.signal.reason)}.\n`);
    return 130;
  }
  return isGood ? 0 : 1;
}

/** @throws ArgumentError */
export function readWholeNumber(
  option: string,
  text: string,
  least: number,
  most: number,
): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < least || number > most) {
    throw new ArgumentError(
      `${option} must be a whole number from ${least} to ${most}, not "${text}"`,
    );
  }
  return number;
}

/** @throws ArgumentError */
export function requireKubeconfig(): void {
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

function isArgumentFault(error: unknown): error is Error {
  return (
    error instanceof ArgumentError ||
    (error instanceof Error &&
      'code' in error &&
      String(error.code).startsWith('ERR_PARSE_ARGS_'))
  );
}
