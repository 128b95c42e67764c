/** The startup pass: finds decorated methods and interceptors with locks, checks them, and gives a LockService to instances that Nest did not inject. */
import { Inject, Injectable } from '@nestjs/common';
import {
  DiscoveryService,
  MetadataScanner,
  ModuleRef,
  ModulesContainer,
} from '@nestjs/core';
import type { LockOptions, OwnLockOptions } from '../k8s-lock.options.js';
import { LockConfigurationError } from '../lock.errors.js';
import { clientOf } from '../lock.client.js';
import { LockService } from '../lock.service.js';
import type { CatchUp } from '../schedule/catch-up.js';
import {
  findFireFaults,
  findFirePolicy,
  findSharedFires,
  type Claimers,
  type FoundLock,
} from './fire-policy.js';
import {
  findBoundLocks,
  findInterceptorLock,
} from './interceptor-lock.metadata.js';
import {
  addInstanceFinder,
  bindLockService,
  needsLockService,
} from './lock-service.injection.js';
import {
  describeClass,
  describeMethod,
  findDeclarer,
  findLockFaults,
  findLockParameters,
  findMethodLocks,
  findOnLocked,
  type DeclaredLock,
  type MethodLock,
} from './lock.metadata.js';
import {
  findSchedule,
  noteSchedule,
  readSchedule,
} from '../schedule/schedule.metadata.js';
import type { ScheduledMethod } from '../schedule/scheduled-methods.js';
import {
  isClassOf,
  isSchedulerOrchestrator,
  isSchedulerRegistry,
  type SchedulerRegistry,
} from '../schedule/scheduler-ticks.js';

type InstanceWrapper = ReturnType<DiscoveryService['getProviders']>[number];
type HostModule = NonNullable<InstanceWrapper['host']>;

/** A lock of a decorated method or an interceptor with a fixed name. */
export interface StaticLock {
  readonly name: string;
  /** `Class.method`, or the place of the interceptor. */
  readonly label: string;
  /** Whether to watch the Lease from startup, so that calls that do not wait know whether the holder is alive. */
  readonly isObserved: boolean;
  readonly options: OwnLockOptions;
  /** Set if missed fires of the method are caught up. */
  readonly catchUp: CatchUp | undefined;
}

/** A scheduled method with a lock. */
export interface ScheduledLock {
  /** `Class.method`. */
  readonly label: string;
  readonly prototype: object;
  readonly key: string | symbol;
  /** Undefined if each call computes it. */
  readonly name: string | undefined;
  readonly options: OwnLockOptions;
  /** Milliseconds. */
  readonly minHold: number;
}

/** The result of the startup pass. */
export interface Explored {
  /** The locks with fixed names. */
  readonly locks: readonly StaticLock[];
  readonly scheduled: readonly ScheduledLock[];
}

/** A lock of an interceptor; it is found once for each place where the interceptor is bound. */
interface FoundInterceptor {
  readonly lock: DeclaredLock;
  readonly label: string;
}

/** A class that a module provides. */
interface ProvidedClass {
  readonly host: HostModule;
  readonly prototype: object;
  /** The instances that exist at startup: none for a request-scoped class. */
  readonly instances: readonly object[];
  /** Whether it has one instance, which exists at startup. */
  readonly isSingleton: boolean;
}

/** A method that carries marks of a decorator. */
export interface MarkedMethod<Mark> {
  readonly prototype: object;
  readonly key: string;
  readonly marks: readonly Mark[];
  /** Undefined if each request or injection has its own. */
  readonly instance: object | undefined;
}

/** Created in a module to find out which LockService its providers see, by Nest's own rules. */
class LockServiceProbe {
  constructor(@Inject(LockService) readonly service: LockService) {}
}

/** Claimers by application, each of which has its own container. */
const claimersOf = new WeakMap<ModulesContainer, Claimers>();

@Injectable()
export class LockedMethodExplorer {
  private readonly claimers: Claimers;

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    modules: ModulesContainer,
  ) {
    this.claimers = claimersOf.get(modules) ?? new Map();
    claimersOf.set(modules, this.claimers);
    addInstanceFinder(this);
  }

  /**
   * Explores the controllers and providers that see `service`; an application with several LockServices
   * has one pass for each. Never wraps anything.
   *
   * @throws LockConfigurationError that names every fault of every method
   */
  async explore(
    service: LockService,
    defaults: LockOptions,
  ): Promise<Explored> {
    const faults: string[] = [];
    const found: FoundLock[] = [];
    const interceptors: FoundInterceptor[] = [];

    for (const provided of this.findProvidedClasses()) {
      const read = this.read(provided);
      if (read === undefined) {
        continue;
      }
      const { isDecorated, bound } = read;
      faults.push(...read.strayParameters);
      if (!isDecorated && bound.length === 0) {
        continue;
      }
      const visible = await findVisibleService(provided.host);
      if (visible === service) {
        for (const instance of isDecorated ? provided.instances : []) {
          bindLockService(instance, service);
        }
        found.push(...read.locks);
        interceptors.push(...bound);
      } else if (visible === undefined && isDecorated) {
        // For classes that Nest injects, and for interceptors, Nest itself has already reported this.
        faults.push(
          `${describeClass(provided.prototype)} has methods under @WithLeaseLock(), but LockService is not available in ${provided.host.name}: import K8sLockModule there, or make it global`,
        );
      }
    }

    for (const each of found) {
      const { lock, label } = each;
      noteSchedule(each.prototype, lock.key);
      faults.push(
        ...[
          ...findLockFaults(lock, defaults),
          ...findFireFaults(each, defaults),
        ].map((fault) => `${label}: ${fault}`),
      );
    }
    for (const { lock, label } of interceptors) {
      faults.push(
        ...findLockFaults(lock, defaults).map((fault) => `${label}: ${fault}`),
      );
    }
    if (faults.length === 0) {
      const locate = makeLocator(service, defaults);
      faults.push(...(await findSharedFires(found, this.claimers, locate)));
    }
    if (faults.length > 0) {
      throw new LockConfigurationError([...new Set(faults)]);
    }
    return {
      // One entry for a method that several classes inherit.
      locks: [
        ...found.filter(isFirstOfItsLock).flatMap(describeStaticLock),
        ...interceptors
          .filter(isFirstOfItsLock)
          .flatMap(describeStaticInterceptor),
      ],
      scheduled: found
        .filter(({ lock, prototype }) => findSchedule(prototype, lock.key))
        .map(({ lock, prototype, label }) => ({
          label,
          prototype,
          key: lock.key,
          name: typeof lock.name === 'string' ? lock.name : undefined,
          options: lock.options,
          minHold: lock.options.minHold ?? defaults.minHold ?? 0,
        })),
    };
  }

  /** The methods that the scheduler calls repeatedly, in the order in which it registers them. */
  findScheduledMethods(): ScheduledMethod[] {
    return this.findWrappers().flatMap((wrapper) => {
      const instance: unknown = wrapper.instance;
      if (typeof instance !== 'object' || instance === null) {
        return [];
      }
      const prototype = findPrototype(instance);
      return prototype === null || !wrapper.isDependencyTreeStatic()
        ? []
        : this.findSchedules(prototype, instance);
    });
  }

  /** Reads schedules as the scheduler does: names from the class, functions from the instance. */
  private findSchedules(
    prototype: object,
    instance: object,
  ): ScheduledMethod[] {
    return this.findMethods(prototype).flatMap(([key]) => {
      const schedule = readSchedule(findProperty(instance, key));
      return schedule === undefined || schedule.type === 'once'
        ? []
        : [{ instance, prototype, key, schedule }];
    });
  }

  /** The registries of @nestjs/schedule: one for each of its modules that the application imports. */
  findSchedulers(): SchedulerRegistry[] {
    return this.findInstancesOf(isSchedulerRegistry);
  }

  /** What registers the methods in this registry; undefined in an unknown version of @nestjs/schedule. */
  findOrchestrator(registry: SchedulerRegistry): object | undefined {
    return this.findInstancesOf(isSchedulerOrchestrator).find(
      (each) => Reflect.get(each, 'schedulerRegistry') === registry,
    );
  }

  private findInstancesOf<T>(isInstance: (value: unknown) => value is T): T[] {
    return this.discovery
      .getProviders()
      .filter(({ token, metatype }) =>
        [token, metatype].some((each) => isClassOf(each, isInstance)),
      )
      .map(({ instance }): unknown => instance)
      .filter(isInstance);
  }

  /**
   * The service for an instance that no pass has found: its module was loaded lazily, or the application has
   * not started. Undefined if no module provides this instance.
   */
  async findServiceOf(instance: object): Promise<LockService | undefined> {
    const wrapper = this.findWrappers().find((each) =>
      findInstances(each).includes(instance),
    );
    return wrapper?.host && findVisibleService(wrapper.host);
  }

  private findWrappers(): InstanceWrapper[] {
    return [
      ...this.discovery.getControllers(),
      ...this.discovery.getProviders(),
    ];
  }

  private *findProvidedClasses(): Iterable<ProvidedClass> {
    for (const wrapper of this.findWrappers()) {
      const { host } = wrapper;
      // The provider behind a useExisting has its own wrapper.
      if (host === undefined || wrapper.isAlias) {
        continue;
      }
      const isSingleton =
        wrapper.isDependencyTreeStatic() && !wrapper.isTransient;
      const classes = new Map<object, object[]>();
      if (!wrapper.isNotMetatype) {
        // Instances of a request-scoped class are created later, and Nest injects them.
        classes.set(wrapper.metatype!.prototype, []);
      }
      for (const instance of findInstances(wrapper)) {
        const prototype = findPrototype(instance);
        if (prototype !== null) {
          classes.set(prototype, [...(classes.get(prototype) ?? []), instance]);
        }
      }
      for (const [prototype, instances] of classes) {
        yield { host, prototype, instances, isSingleton };
      }
    }
  }

  /** The methods of all controllers and providers in which `findMarks` finds any, once for each instance. */
  *findMarkedMethods<Mark>(
    findMarks: (prototype: object, key: string) => readonly Mark[],
  ): Iterable<MarkedMethod<Mark>> {
    for (const provided of this.findProvidedClasses()) {
      const { prototype, instances, isSingleton } = provided;
      let keys: string[];
      try {
        keys = this.findMethods(prototype).map(([key]) => key);
      } catch {
        continue; // a Proxy that throws
      }
      for (const key of keys) {
        const marks = findMarks(prototype, key);
        for (const instance of isSingleton ? instances : [undefined]) {
          if (marks.length > 0) {
            yield { prototype, key, marks, instance };
          }
        }
      }
    }
  }

  /** Undefined if the instance or its prototype is a Proxy that throws; such an instance has no decorated methods. */
  private read(provided: ProvidedClass) {
    try {
      return {
        strayParameters: this.findStrayParameters(provided.prototype),
        isDecorated: needsLockService(provided.prototype),
        bound: this.findInterceptors(provided),
        locks: this.findLocks(provided),
      };
    } catch {
      return undefined;
    }
  }

  private findLocks({
    host,
    prototype,
    instances,
  }: ProvidedClass): FoundLock[] {
    const [instance] = instances;
    return this.findMethods(prototype).flatMap(([key]) =>
      findMethodLocks(prototype, key).map((lock) => ({
        lock,
        prototype,
        label: describeMethod(prototype, key),
        module: host.name,
        instance,
      })),
    );
  }

  /** The interceptors that are bound to the class and its methods, and the class itself if it is one. */
  private findInterceptors({
    host,
    prototype,
  }: ProvidedClass): FoundInterceptor[] {
    const { constructor } = prototype;
    if (typeof constructor !== 'function') {
      return []; // a value of useValue
    }
    const own = findInterceptorLock(constructor);
    const bound = [
      { label: describeClass(prototype), locks: findBoundLocks(constructor) },
      ...this.findMethods(prototype).map(([key, method]) => ({
        label: describeMethod(prototype, key),
        locks: findBoundLocks(method),
      })),
    ];
    return [
      ...(own ? [{ lock: own, label: `a provider of ${host.name}` }] : []),
      ...bound.flatMap(({ label, locks }) =>
        locks.map((lock) => ({ lock, label })),
      ),
    ].map(({ lock, label }) => ({
      lock,
      label: `LeaseLockInterceptor() on ${label}`,
    }));
  }

  /** Finds `@HeldLock()` on methods without `@WithLeaseLock()`, which would run unlocked. */
  private findStrayParameters(prototype: object): string[] {
    return [...this.findMethods(prototype)]
      .filter(
        ([key]) =>
          findMethodLocks(prototype, key).length === 0 &&
          findLockParameters(findDeclarer(prototype, key)!, key).length > 0,
      )
      .map(
        ([key]) =>
          `${describeMethod(prototype, key)}: a parameter under @HeldLock() needs @WithLeaseLock() on the method`,
      );
  }

  /** Reads no accessors: the scanner leaves them out. */
  private findMethods(prototype: object): [key: string, method: object][] {
    return this.scanner
      .getAllMethodNames(prototype)
      .map((key) => [key, Reflect.get(prototype, key)]);
  }
}

function findInstances(wrapper: InstanceWrapper): object[] {
  // The one on which the scheduler calls a method of a transient class: no constructor has run on it.
  const instances: unknown[] = [wrapper.instance];
  if (wrapper.isTransient) {
    instances.push(
      ...wrapper.getStaticTransientInstances().map((host) => host?.instance),
    );
  }
  return instances.filter(
    (instance): instance is object =>
      typeof instance === 'object' && instance !== null,
  );
}

function findProperty(instance: object, key: string): unknown {
  try {
    return Reflect.get(instance, key);
  } catch {
    return undefined; // a Proxy that throws
  }
}

function findPrototype(instance: object): object | null {
  try {
    return Reflect.getPrototypeOf(instance);
  } catch {
    return null; // a Proxy that throws
  }
}

/** Returns the key of a lock's Lease; if a test replaces LockService, only from the name and the namespace. */
function makeLocator(
  service: LockService,
  defaults: LockOptions,
): (lock: MethodLock) => Promise<string> {
  return async ({ name, options }) =>
    clientOf(service)?.identify(String(name), options) ??
    JSON.stringify([options.namespace ?? defaults.namespace, name]);
}

/** Undefined if the providers of this module see no LockService: only then the probe can't be created. */
async function findVisibleService(
  host: HostModule,
): Promise<LockService | undefined> {
  const moduleRef = host.getProviderByKey<ModuleRef>(ModuleRef).instance;
  try {
    return (await moduleRef.create(LockServiceProbe)).service;
  } catch {
    return undefined;
  }
}

function describeStaticLock({
  lock,
  label,
  prototype,
  instance,
}: FoundLock): StaticLock[] {
  const { name, key, options, fire } = lock;
  if (typeof name !== 'string') {
    return [];
  }
  const policy = findFirePolicy(lock, prototype);
  const schedule = policy?.schedule;
  return [
    {
      name,
      label,
      isObserved:
        findOnLocked(lock, prototype) === 'skip' || policy !== undefined,
      options,
      catchUp:
        fire.catchUp && policy && schedule?.type === 'cron' && instance
          ? {
              lockName: name,
              options,
              retry: policy.retry,
              method: { instance, prototype, key, schedule },
              call: () =>
                Reflect.apply(Reflect.get(instance, key), instance, []),
            }
          : undefined,
    },
  ];
}

function describeStaticInterceptor({
  lock,
  label,
}: FoundInterceptor): StaticLock[] {
  const { name, onLocked, options } = lock;
  return typeof name === 'string'
    ? [
        {
          name,
          label,
          isObserved: onLocked === 'skip',
          options,
          catchUp: undefined,
        },
      ]
    : [];
}

function isFirstOfItsLock(
  { lock }: { lock: DeclaredLock },
  index: number,
  all: readonly { lock: DeclaredLock }[],
): boolean {
  return all.findIndex((each) => each.lock === lock) === index;
}
