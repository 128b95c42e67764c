/** Options that come from other providers, in forRootAsync() and the like: checks where they come from. */
import {
  describeValue,
  findObjectFaults,
  isClass,
} from './k8s-lock.options.js';
import { LockConfigurationError } from './lock.errors.js';

/** A method of a module that takes its options from other providers. */
export interface AsyncRegistration {
  /** As in messages. */
  readonly method: string;
  /** The method of the class of useClass or useExisting. */
  readonly factoryMethod: string;
}

/** The sources of the options, of which exactly one is needed. */
const SOURCES = ['useFactory', 'useClass', 'useExisting'] as const;

/** The faults of the argument of such a method. */
export function findSourceFaults(
  { method, factoryMethod }: AsyncRegistration,
  options: Partial<Record<(typeof SOURCES)[number], unknown>>,
): string[] {
  const faults = findObjectFaults(`the argument of ${method}`, options);
  if (faults.length > 0) {
    return faults;
  }
  const given = SOURCES.filter((source) => options[source] !== undefined);
  if (given.length !== 1) {
    return [
      `${method} must be given one of ${SOURCES.join(', ')}, not ${given.join(' and ') || 'none of them'}`,
    ];
  }
  const { useFactory, useClass } = options;
  if (useFactory !== undefined && !isFunction(useFactory)) {
    return [
      `useFactory must be a function that returns the options, not ${isClass(useFactory) ? 'a class: pass it as useClass' : describeValue(useFactory)}`,
    ];
  }
  // An arrow function has no prototype.
  return useClass === undefined || Reflect.get(Object(useClass), 'prototype')
    ? []
    : [
        `useClass must be a class with ${factoryMethod}(), not ${describeValue(useClass)}`,
      ];
}

/** Calls the options factory, checking at run time that it has the method. */
export function callFactoryOf({
  method,
  factoryMethod,
}: AsyncRegistration): (factory: unknown) => unknown {
  return (factory) => {
    const create: unknown = Reflect.get(Object(factory), factoryMethod);
    if (typeof create !== 'function') {
      throw new LockConfigurationError([
        `the class of useClass or useExisting in ${method} must have the method ${factoryMethod}(), but ${describeValue(factory)} has none`,
      ]);
    }
    return Reflect.apply(create, factory, []);
  };
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function' && !isClass(value);
}
