/**
 * Has this package, client-go and k8slock contend for the same Leases on a real API server, in every pairing, and
 * prints the figures. Exits with 1 when something was wrong that involves this package.
 */
import { buildForProcesses, removeBuild } from '../../test/build.js';
import { KubeClient } from '../../test/kube-client.js';
import { readArguments } from '../arguments.js';
import { startKubeApiserver } from '../kube-apiserver/kube-apiserver.js';
import { tableOf } from './figures.js';
import { CONTROL, MEETINGS } from './meetings.js';
import { findFaults, runMeetings } from './outcome.js';
import { buildPeers } from './peers.js';

const TURN_TIMEOUT = 60;

const { values } = readArguments({
  usage: 'Usage: npm run verify -- interop [--seconds 60]',
  options: { seconds: { type: 'string', default: '60' } },
  whole: { seconds: 1 },
});
const seconds = Number(values.seconds);

const binary = await buildPeers();
await using server = await startKubeApiserver();
const kubeConfigYaml = server.kubeConfig();
const namespace = await new KubeClient(kubeConfigYaml).createNamespace();
try {
  const build = await buildForProcesses();
  console.log(`${MEETINGS.length + 1} meetings at once, for ${seconds} s`);
  const outcomes = await runMeetings(
    [...MEETINGS, CONTROL],
    { build, binary, kubeConfigYaml, namespace },
    { seconds, turnTimeout: TURN_TIMEOUT },
  );
  console.log(tableOf(outcomes));
  const control = outcomes.pop()!;
  findFaults(control).forEach((fault) => console.log(`not ours: ${fault}`));
  const faults = outcomes.flatMap(findFaults);
  faults.forEach((fault) => console.log(`FAULT: ${fault}`));
  process.exitCode = faults.length > 0 ? 1 : 0;
} finally {
  await removeBuild();
}
