/** Finds how an application imports K8sLockModule: as global more than once, or by LazyModuleLoader. */
import type { ModulesContainer } from '@nestjs/core';
import type { ResolvedModuleOptions } from './k8s-lock.options.js';
import { ShutdownModule } from './shutdown.module.js';

type Module =
  ReturnType<ModulesContainer['values']> extends Iterable<infer T> ? T : never;

/** The token of the {@link ResolvedModuleOptions}. */
export const RESOLVED_OPTIONS = Symbol('K8S_LOCK_RESOLVED_OPTIONS');

/** Only the first global module warns: undefined for the others, and if there is only one. */
export function describeGlobalModules(
  modules: ModulesContainer,
  options: ResolvedModuleOptions,
): string | undefined {
  const all = Array.from(modules.values());
  const globals = all.filter(
    ({ isGlobal, providers }) => isGlobal && providers.has(RESOLVED_OPTIONS),
  );
  const [first] = globals;
  if (
    first === undefined ||
    globals.length < 2 ||
    optionsOf(first) !== options
  ) {
    return undefined;
  }
  const described = globals.map((module) => {
    const importers = all
      .filter((each) => isImporter(each, module))
      .map(({ name }) => name);
    const namespace = optionsOf(module)?.lock.namespace ?? 'found';
    return `by ${importers.join(', ') || 'an unknown module'} (namespace: ${namespace})`;
  });
  return `K8sLockModule is imported as global ${globals.length} times, ${described.join(' and ')}. It is undefined which LockService another module gets: set isGlobal: false in all but one`;
}

/**
 * Whether LazyModuleLoader loads the module with these options. Nest then appends the global modules before
 * the module's own imports.
 */
export function isLoadedLazily(
  modules: ModulesContainer,
  options: ResolvedModuleOptions,
): boolean {
  const module = Array.from(modules.values()).find(
    (each) => optionsOf(each) === options,
  );
  const imported = Array.from(module?.imports ?? []).find(
    ({ metatype }) => metatype === ShutdownModule,
  );
  return module && imported ? !isImporter(module, imported) : false;
}

/** Nest appends global modules to the imports of all modules, after the modules' own imports. */
function isImporter(importer: Module, module: Module): boolean {
  const imports = Array.from(importer.imports);
  const firstAdded = imports.findIndex(
    ({ name }) => name === 'InternalCoreModule',
  );
  const index = imports.indexOf(module);
  return index >= 0 && (firstAdded < 0 || index < firstAdded);
}

function optionsOf(module: Module): ResolvedModuleOptions | undefined {
  return module.getProviderByKey<ResolvedModuleOptions>(RESOLVED_OPTIONS)
    ?.instance;
}
