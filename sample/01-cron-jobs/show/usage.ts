/** What the command line may say. */
import type { Seconds } from '../../stage/arguments.js';

export const SECONDS: Seconds = { least: 10, most: 3_600, usual: 18 };

export const USAGE = `Usage: npm start -- [options]

  --cluster        run against the cluster of your kubeconfig (KUBECONFIG or ~/.kube/config)
                   instead of an embedded API server
  --seconds N      how long the replicas run, ${SECONDS.least} to ${SECONDS.most}; default ${SECONDS.usual}
  --without-lock   give each replica a lock of its own, to see what the lock is good for: fails
  --help           print this

Exit code 0: no two replicas worked at the same time, and the killed one's work was taken over.
`;
