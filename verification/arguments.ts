/** Reads the arguments of the programs that `npm run verify` and `npm run bench` start; wrong ones end them with a plain message. */
import { parseArgs, type ParseArgsConfig } from 'node:util';

type Options = NonNullable<ParseArgsConfig['options']>;

/** What a program takes. */
interface Taken<Own extends Options> {
  /** For `--help`. */
  readonly usage: string;
  readonly options: Own;
  /** The options that are whole numbers, each with the least. */
  readonly whole?: Readonly<Record<string, number>>;
  readonly allowPositionals?: boolean;
}

/** Prints the usage and ends the process if `--help` asks for it; ends it as {@link refuse} does if an argument is wrong. */
export function readArguments<const Own extends Options>({
  usage,
  options,
  whole = {},
  allowPositionals = false,
}: Taken<Own>) {
  const args = process.argv.slice(2);
  if (args.includes('--help')) {
    console.log(usage);
    process.exit();
  }
  const parsed = parse(usage, { args, options, allowPositionals });
  const given: Readonly<Record<string, unknown>> = parsed.values;
  const mistakes = Object.entries(whole).flatMap(([name, least]) => {
    const value = given[name];
    const text = typeof value === 'string' ? value : `${least}`;
    return /^\d+$/.test(text) && Number(text) >= least
      ? []
      : `--${name} is "${text}", but must be a whole number of ${least} or more.`;
  });
  return mistakes.length > 0 ? refuse(usage, mistakes) : parsed;
}

function parse<const Config extends ParseArgsConfig>(
  usage: string,
  config: Config,
) {
  try {
    return parseArgs(config);
  } catch (error) {
    return refuse(usage, [
      error instanceof Error ? error.message : String(error),
    ]);
  }
}

/** Ends the process with what is wrong, and exit code 2. */
export function refuse(usage: string, mistakes: readonly string[]): never {
  console.error(`${mistakes.join('\n')}\n\n${usage}`);
  process.exit(2);
}
