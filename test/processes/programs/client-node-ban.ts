/** A loader hook that lets nobody load `@kubernetes/client-node`. */
import type { ResolveHook } from 'node:module';

export const resolve: ResolveHook = (specifier, context, nextResolve) => {
  if (specifier.startsWith('@kubernetes/client-node')) {
    throw new Error('client-node was loaded');
  }
  return nextResolve(specifier, context);
};
