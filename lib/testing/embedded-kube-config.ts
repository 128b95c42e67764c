/** The configuration for the embedded server, equal to client-node's KubeConfig but without loading client-node. */
import type { RequestOptions } from 'node:https';
import type { KubeConfigLike } from '../k8s-lock.options.js';

export class EmbeddedKubeConfig implements KubeConfigLike {
  constructor(
    private readonly server: string,
    private readonly namespace: string,
    private readonly token: string,
  ) {}

  async applyToHTTPSOptions(options: RequestOptions): Promise<void> {
    options.headers = Object.assign(options.headers ?? {}, {
      Authorization: `Bearer ${this.token}`,
    });
  }

  getContextObject(): { namespace: string } {
    return { namespace: this.namespace };
  }

  getCurrentCluster(): { server: string; skipTLSVerify: boolean } {
    // Plain HTTP is refused without skipTLSVerify.
    return { server: this.server, skipTLSVerify: true };
  }

  getCurrentContext(): string {
    return 'embedded';
  }
}
