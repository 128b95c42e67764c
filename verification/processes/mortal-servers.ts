/** A real API server that belongs to one test, which may stop it and kill it by signals. */
import { startKubeApiserver } from '../kube-apiserver/kube-apiserver.js';

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

export async function startMortalServer(): Promise<MortalServer> {
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
