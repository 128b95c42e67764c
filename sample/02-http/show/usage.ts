/** What the command line may say. */
import type { Seconds } from '../../stage/arguments.js';

export const SECONDS: Seconds = { least: 2, most: 3_600, usual: 8 };

export const USAGE = `Usage: npm run sample:http -- [options]

  --cluster        run against the cluster of your kubeconfig (KUBECONFIG or ~/.kube/config)
                   instead of an embedded API server
  --seconds N      how long a crowd of clients sends requests, ${SECONDS.least} to ${SECONDS.most}; default ${SECONDS.usual}
  --without-lock   give each replica locks of its own, to see what they are good for: fails
  --help           print this

Exit code 0: no order was worked on twice at a time, every answer was one that its route promises, and
nothing came of the request of a client that went away while it waited.
`;
