/** Refuses decorators without parentheses, and those compiled without `experimentalDecorators`. */
import { isClass } from '../k8s-lock.options.js';
import { LockConfigurationError } from '../lock.errors.js';
import { describeMethod } from './lock.metadata.js';

/**
 * Checks the first arguments of a decorator factory. Without parentheses these are the class or prototype
 * and the key, or the method and its context.
 */
export function refuseBareUse(
  decorator: string,
  first: unknown,
  second: unknown,
): void {
  refuseStandardUse(decorator, second);
  const isBare =
    isClass(first) ||
    (typeof first === 'object' &&
      (typeof second === 'string' || typeof second === 'symbol'));
  if (isBare) {
    const [effect, call] = USES.get(decorator) ?? [
      'which would run unlocked',
      `@${decorator}(…)`,
    ];
    throw new LockConfigurationError([
      `@${decorator} was used without parentheses on ${nameOf(first, second)}, ${effect}: write ${call}`,
    ]);
  }
}

/** For decorators that take no lock: what happens without parentheses, and the correct form. */
const USES = new Map([
  ['HeldLock', ['where it does nothing', '@HeldLock()']],
  ['LeaderOnly', ['which would run in each pod', '@LeaderOnly(…)']],
  ['OnDeposed', ['which would never be called', '@OnDeposed(…)']],
  ['OnElected', ['which would never be called', '@OnElected(…)']],
]);

/** Checks the second argument of a decorator, which is an object in a standard ECMAScript decorator. */
export function refuseStandardUse(decorator: string, context: unknown): void {
  if (typeof context === 'object' && context !== null && 'kind' in context) {
    const name = 'name' in context ? String(context.name) : 'a class';
    throw new LockConfigurationError([
      `@${decorator}() on ${name} was compiled as a standard ECMAScript decorator, which Nest does not support: set "experimentalDecorators": true in the compilerOptions of tsconfig.json (with SWC: "legacyDecorator": true in jsc.transform)`,
    ]);
  }
}

/** `Class.member` from the arguments of a decorator. */
function nameOf(target: unknown, key: unknown): string {
  const isKey = typeof key === 'string' || typeof key === 'symbol';
  if (typeof target === 'function') {
    return isKey ? `${target.name}.${String(key)}` : target.name;
  }
  return isKey && typeof target === 'object' && target !== null
    ? describeMethod(target, key)
    : 'a class';
}
