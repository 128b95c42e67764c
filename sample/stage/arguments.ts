/** The command line of a show that runs for a while, on a cluster, with its locks or without them. */
import { parseArgs } from 'node:util';
import { readWholeNumber, requireKubeconfig } from './command-line.js';

export interface Arguments {
  /** Run against the cluster of the local kubeconfig. */
  readonly cluster: boolean;
  /** Give each replica locks of its own, which are as good as none. */
  readonly withoutLock: boolean;
  /** How long it runs. */
  readonly seconds: number;
}

/** How many seconds a show may run. */
export interface Seconds {
  readonly least: number;
  readonly most: number;
  readonly usual: number;
}

/** Undefined when help was asked for. */
export function readArguments(
  args: string[],
  { least, most, usual }: Seconds,
): Arguments | undefined {
  const { values } = parseArgs({
    args,
    options: {
      cluster: { type: 'boolean', default: false },
      seconds: { type: 'string', default: String(usual) },
      'without-lock': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    return undefined;
  }
  if (values.cluster) {
    requireKubeconfig();
  }
  return {
    cluster: values.cluster,
    withoutLock: values['without-lock'],
    seconds: readWholeNumber('--seconds', values.seconds, least, most),
  };
}
