/** A loader hook that lets nobody load `@kubernetes/client-node`. */
import type { ResolveHook } from 'node:module';

export function refuseClientNode(specifier: string): void {
  if (specifier.startsWith('@kubernetes/client-node')) {
    throw new Error('client-node was loaded');
  }
}

export const resolve: ResolveHook = (specifier, context, nextResolve) => {
  refuseClientNode(specifier);
  return nextResolve(specifier, context);
};
