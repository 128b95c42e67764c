/** The command line: what it may say, and what is wrong with what it says. */
import { parseArgs } from 'node:util';

/** The command line is wrong; the message says what to do. */
export class ArgumentError extends Error {}

const FEWEST = 3;
const MOST = 3_600;

export const USAGE = `Usage: npm run sample:once-per-fire -- [options]

  --fires N   how many fires to count, one a second, ${FEWEST} to ${MOST}; default 60
  --help      print this

Exit code 0: with oncePerFire no fire was run twice and none was missed, and without it some were run
twice.
`;

/** How many fires to count; undefined when help was asked for. */
export function readFires(args: string[]): number | undefined {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        fires: { type: 'string', default: '60' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }));
  } catch (error) {
    throw new ArgumentError(
      error instanceof Error ? error.message : String(error),
    );
  }
  if (values.help) {
    return undefined;
  }
  const fires = Number(values.fires);
  if (!Number.isInteger(fires) || fires < FEWEST || fires > MOST) {
    throw new ArgumentError(
      `--fires must be a whole number from ${FEWEST} to ${MOST}, not "${values.fires}"`,
    );
  }
  return fires;
}
