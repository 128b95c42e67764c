/** API servers that belong to one test, which may stop them and kill them by signals. */
import { inject } from 'vitest';
import { startKubeApiserver } from '../kube-apiserver/kube-apiserver.js';
import type { EmbeddedServerCalls } from './programs/embedded-server.js';
import { TestProcess } from './test-process.js';

/** An API server in a process of its own. */
export interface MortalServer extends AsyncDisposable {
  readonly kubeConfigYaml: string;
  /** From now on it takes connections and requests, and answers none. */
  hang(): void;
  /** It answers again. */
  recover(): void;
  /** It ends at once, and connections are refused. */
  crash(): Promise<void>;
}

export interface MortalServerKind {
  readonly name: string;
  /** Why there is none of this kind. */
  readonly skipped: string | undefined;
  start(): Promise<MortalServer>;
}

export const mortalServers: readonly MortalServerKind[] = [
  { name: 'embedded', skipped: undefined, start: startEmbedded },
  { name: 'real', skipped: reasonForNoRealOne(), start: startReal },
];

async function startEmbedded(): Promise<MortalServer> {
  const process = await TestProcess.start<EmbeddedServerCalls>(
    'test/processes/programs/embedded-server',
  );
  const kubeConfigYaml = await process.call('start');
  const end = () => process[Symbol.asyncDispose]();
  return {
    kubeConfigYaml,
    hang: () => process.signal('SIGSTOP'),
    recover: () => process.signal('SIGCONT'),
    crash: end,
    [Symbol.asyncDispose]: end,
  };
}

async function startReal(): Promise<MortalServer> {
  const server = await startKubeApiserver();
  const signal = (name: NodeJS.Signals): void => {
    if (server.pid !== undefined) {
      process.kill(server.pid, name);
    }
  };
  // It ends with this process, unless it is stopped just then.
  const awaken = (): void => signal('SIGCONT');
  process.once('exit', awaken);
  return {
    kubeConfigYaml: server.kubeConfig(),
    hang: () => signal('SIGSTOP'),
    recover: awaken,
    crash: () => server.halt('SIGKILL'),
    [Symbol.asyncDispose]: () => {
      awaken();
      process.off('exit', awaken);
      return server.stop();
    },
  };
}

function reasonForNoRealOne(): string | undefined {
  const shared = inject('kubeApiserver');
  if ('skipped' in shared) {
    return shared.skipped;
  }
  return shared.started ? undefined : 'the cluster that was given must live on';
}
