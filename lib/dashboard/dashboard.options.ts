/** The options of the dashboard, their defaults, and their validation. */
import type {
  CanActivate,
  InjectionToken,
  ModuleMetadata,
  OptionalFactoryDependency,
  Type,
} from '@nestjs/common';
import {
  BOOLEAN,
  describeValue,
  findFaults,
  findObjectFaults,
  LOCK_RULES,
  throwFaults,
  type Rule,
} from '../k8s-lock.options.js';

/** What the dashboard shows, and what its users may do. */
export interface DashboardViewOptions {
  /**
   * Let users take a lock away from its holder, after a confirmation.
   *
   * @defaultValue `false`
   */
  allowForceRelease?: boolean;
  /**
   * The namespace whose locks are shown.
   *
   * @defaultValue that of `K8sLockModule`
   */
  namespace?: string;
  /**
   * The heading of the page.
   *
   * @defaultValue `'Locks'`
   */
  title?: string;
}

/** Where the dashboard is, and who may see it. In `forRootAsync()` these go beside `useFactory`. */
export interface DashboardRouteOptions {
  /**
   * The path of the page, below the global prefix of the application.
   *
   * @defaultValue `'/locks'`
   */
  path?: string;
  /**
   * The guards of all its routes, as for `@UseGuards()`: classes or instances. Without one the application does not start,
   * unless `public` is true.
   *
   * @defaultValue none
   */
  guards?: readonly (Type<CanActivate> | CanActivate)[];
  /**
   * Let everybody who reaches the application see the dashboard, without a guard.
   *
   * @defaultValue `false`
   */
  public?: boolean;
  /**
   * The modules that export what the guards need.
   *
   * @defaultValue none
   */
  imports?: ModuleMetadata['imports'];
}

/** The argument of `K8sLockDashboardModule.forRoot()`. */
export type K8sLockDashboardOptions = DashboardRouteOptions &
  DashboardViewOptions;

/** The argument of `K8sLockDashboardModule.forRootAsync()`. */
export interface K8sLockDashboardAsyncOptions extends DashboardRouteOptions {
  useFactory: (
    ...args: any[]
  ) => DashboardViewOptions | Promise<DashboardViewOptions>;
  inject?: (InjectionToken | OptionalFactoryDependency)[];
}

export interface ResolvedView {
  readonly allowForceRelease: boolean;
  readonly namespace: string | undefined;
  readonly title: string;
}

export interface ResolvedRoutes {
  readonly path: string;
  readonly guards: readonly (Type<CanActivate> | CanActivate)[];
  readonly imports: NonNullable<ModuleMetadata['imports']>;
}

const VIEW_RULES: Record<keyof DashboardViewOptions, Rule> = {
  allowForceRelease: BOOLEAN,
  namespace: LOCK_RULES.namespace,
  title: [
    'must be a string of 1 to 100 characters',
    (value) =>
      typeof value === 'string' && value.length > 0 && value.length <= 100,
  ],
};

const ROUTE_RULES: Record<keyof DashboardRouteOptions, Rule> = {
  path: [
    'must be a path of letters, digits and -._~ between slashes, and not empty',
    (value) =>
      typeof value === 'string' && /^\/?[-.\w~]+(\/[-.\w~]+)*\/?$/.test(value),
  ],
  guards: [
    'must be an array of guards: classes or instances with canActivate()',
    (value) => Array.isArray(value) && value.every(isGuard),
  ],
  public: BOOLEAN,
  imports: ['must be an array of modules', Array.isArray],
};

/** @throws LockConfigurationError that names every fault */
export function resolveView(
  options: DashboardViewOptions,
  what = 'the result of the factory of K8sLockDashboardModule.forRootAsync()',
): ResolvedView {
  throwFaults(findObjectFaults(what, options));
  throwFaults(findFaults(options, VIEW_RULES));
  const { allowForceRelease = false, namespace, title = 'Locks' } = options;
  return { allowForceRelease, namespace, title };
}

/** @throws LockConfigurationError that names every fault, and if nothing guards the routes */
function resolveRoutes(options: DashboardRouteOptions): ResolvedRoutes {
  const faults = findFaults(options, ROUTE_RULES);
  const { path = '/locks', guards = [], imports = [] } = options;
  if (faults.length === 0 && guards.length === 0 && options.public !== true) {
    faults.push(
      'K8sLockDashboardModule needs guards: the dashboard shows the locks of the cluster to all who reach it. Set guards: [YourGuard], or public: true if only those who may see it can reach the application',
    );
  }
  if (faults.length === 0 && guards.length > 0 && options.public === true) {
    faults.push(
      'public must not be true together with guards, which decide who sees the dashboard: remove one of the two',
    );
  }
  throwFaults(faults);
  return { path, guards, imports };
}

/** @throws LockConfigurationError that names every fault */
export function splitOptions(options: K8sLockDashboardOptions): {
  routes: ResolvedRoutes;
  view: ResolvedView;
} {
  const what = 'the argument of K8sLockDashboardModule.forRoot()';
  throwFaults(findObjectFaults(what, options));
  throwFaults(findFaults(options, { ...ROUTE_RULES, ...VIEW_RULES }));
  const { path, guards, public: isPublic, imports, ...view } = options;
  return {
    routes: resolveRoutes({ path, guards, public: isPublic, imports }),
    view: resolveView(view, what),
  };
}

/** @throws LockConfigurationError that names every fault */
export function splitAsyncOptions(options: K8sLockDashboardAsyncOptions): {
  routes: ResolvedRoutes;
  useFactory: K8sLockDashboardAsyncOptions['useFactory'];
  inject: NonNullable<K8sLockDashboardAsyncOptions['inject']>;
} {
  throwFaults(
    findObjectFaults(
      'the argument of K8sLockDashboardModule.forRootAsync()',
      options,
    ),
  );
  const { useFactory, inject = [], ...routes } = options;
  if (typeof useFactory !== 'function') {
    throwFaults([
      `useFactory must be a function that returns options of the dashboard, not ${describeValue(useFactory)}`,
    ]);
  }
  return { routes: resolveRoutes(routes), useFactory, inject };
}

function isGuard(value: unknown): boolean {
  const guard: unknown =
    typeof value === 'function' ? Reflect.get(value, 'prototype') : value;
  return (
    typeof guard === 'object' &&
    guard !== null &&
    typeof Reflect.get(guard, 'canActivate') === 'function'
  );
}
