/** The command line: what it may say. */
import { parseArgs } from 'node:util';
import { readWholeNumber } from '../../stage/command-line.js';

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
  const { values } = parseArgs({
    args,
    options: {
      fires: { type: 'string', default: '60' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  return values.help
    ? undefined
    : readWholeNumber('--fires', values.fires, FEWEST, MOST);
}
