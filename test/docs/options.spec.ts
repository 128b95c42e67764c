/** The tables of options in README.md name every option, with the default that it has. */
import { describe, expect, it } from 'vitest';
import {
  K8sLockModule,
  LockConfigurationError,
  type AcquireOptions,
  type LockOptions,
  type WithLeaseLockOptions,
} from '../../lib/index.js';
import type { K8sLockModuleExtras } from '../../lib/k8s-lock.module-definition.js';
import {
  DECORATOR_WAIT_TIMEOUT,
  resolveLockOptions,
  resolveModuleOptions,
} from '../../lib/k8s-lock.options.js';
import { findCode, findTables, keysOf } from './pages.js';

const [ofLocks = [], ofCalls = [], ofModules = []] = findTables('## Options');
const lockKeys = findOptionKeys(resolveLockOptions);
const moduleKeys = findOptionKeys(resolveModuleOptions);

describe('the options of a lock', () => {
  it('are all there', () => {
    expect(namesIn(ofLocks)).toEqual(lockKeys);
  });

  it.each([undefined, 15_000, 60_000])(
    'have their defaults, with leaseDuration %s',
    (leaseDuration) => {
      const { leaseDuration: _, ...others } = resolveLockOptions({
        leaseDuration,
      });
      expect({ leaseDuration: 15_000, ...others }).toEqual(
        readDefaults(ofLocks, (cell) =>
          readDefault(cell.split(', or ')[0], leaseDuration),
        ),
      );
    },
  );

  it('have other defaults where that is said', () => {
    const { renewInterval, safetyMargin } = resolveLockOptions({
      leaseDuration: 'infinite',
    });
    expect(
      readDefaults(ofLocks, (cell) => readDefault(cell.split(', or ')[1])),
    ).toEqual({
      renewInterval,
      safetyMargin,
      waitTimeout: DECORATOR_WAIT_TIMEOUT,
    });
  });
});

it('the options of a decorator or a call only are all there', () => {
  expect(namesIn(ofCalls)).toEqual([
    ...keysOf<Exclude<keyof WithLeaseLockOptions, keyof LockOptions>>({
      onLocked: true,
      oncePerFire: true,
      onFailure: true,
      catchUp: true,
    }),
    ...keysOf<Exclude<keyof AcquireOptions, keyof LockOptions>>({
      signal: true,
    }),
  ]);
});

describe('the options of the module only', () => {
  it('are all there', () => {
    expect(namesIn(ofModules).toSorted()).toEqual(
      [
        ...moduleKeys.filter((key) => !lockKeys.includes(key)),
        ...keysOf<keyof K8sLockModuleExtras>({ isGlobal: true }),
      ].toSorted(),
    );
  });

  it('have their defaults', () => {
    const { lock: _, namePrefix, clientId, ...others } = resolveModuleOptions();
    const { clientId: described, ...said } = readDefaults(ofModules);
    expect({
      ...others,
      namePrefix: namePrefix || undefined,
      isGlobal: K8sLockModule.forRoot().global,
    }).toEqual(said);
    expect(described).toBe('<hostname>_<uuid>');
    expect(clientId).toMatch(/^.+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });
});

/** The error about an option that does not exist lists those that do. */
function findOptionKeys(resolve: (options: object) => unknown): string[] {
  try {
    resolve({ '?': true });
  } catch (error) {
    if (error instanceof LockConfigurationError) {
      return error.faults[0]!.split('the options are ')[1]!.split(', ');
    }
  }
  throw new Error('an unknown option was accepted');
}

function readDefaults(
  table: readonly (readonly string[])[],
  read: (cell: string) => unknown = readDefault,
): Record<string, unknown> {
  return Object.fromEntries(
    table.map(([option = '', cell = '']) => [findCode(option)[0], read(cell)]),
  );
}

/** The first value that a cell names; undefined for one without code, such as "none" or "found". */
function readDefault(cell = '', leaseDuration = 15_000): unknown {
  const [code] = findCode(cell);
  const [, divisor] = /^leaseDuration \/ (\d+)$/.exec(code ?? '') ?? [];
  if (divisor !== undefined) {
    return leaseDuration / Number(divisor);
  }
  return code === undefined || code.startsWith('<')
    ? code
    : JSON.parse(code.replaceAll("'", '"'));
}

/** What the rows of a table are about: the code in their first cells. */
function namesIn(table: readonly (readonly string[])[]): string[] {
  return table.flatMap(([cell = '']) => findCode(cell));
}
