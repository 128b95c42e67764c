/** The defaults that the tables of options name are those that the code has. */
import { describe, expect, it } from 'vitest';
import { K8sLockModule } from '../../lib/index.js';
import {
  DECORATOR_WAIT_TIMEOUT,
  resolveLockOptions,
  resolveModuleOptions,
} from '../../lib/k8s-lock.options.js';
import { findCode, findTables } from './pages.js';

const [ofLocks = [], ofCalls = [], ofModules = []] = findTables('## Options');

describe('the options of a lock', () => {
  it.each([undefined, 15_000, 60_000])(
    'have their defaults, with leaseDuration %s',
    (leaseDuration) => {
      const {
        leaseDuration: _,
        permits,
        ...others
      } = resolveLockOptions({
        leaseDuration,
      });
      expect(permits).toBe(readDefaults(ofCalls, readFirst)['permits']);
      expect({ leaseDuration: 15_000, ...others }).toEqual(
        readDefaults(ofLocks, (cell) =>
          readDefault(cell.split(', or ')[0], leaseDuration),
        ),
      );
    },
  );

  it('have other defaults where the table says so', () => {
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

it('the options of the module have their defaults', () => {
  const { lock: _, namePrefix, clientId, ...others } = resolveModuleOptions();
  const { clientId: described, ...named } = readDefaults(ofModules);
  expect({
    ...others,
    namePrefix: namePrefix || undefined,
    isGlobal: K8sLockModule.forRoot().global,
  }).toEqual(named);
  expect(described).toBe('<hostname>_<uuid>');
  expect(clientId).toMatch(/^.+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

/** `true` under `@Cron`, else `false`: what stands first. */
const readFirst = (cell?: string): unknown => readDefault(cell?.split(' ')[0]);

function readDefaults(
  table: readonly (readonly string[])[],
  read: (cell: string) => unknown = readDefault,
): Record<string, unknown> {
  return Object.fromEntries(
    table.map(([option = '', cell = '']) => [findCode(option)[0], read(cell)]),
  );
}

/** The value that a cell begins with; undefined for one that begins with words, such as "none". */
function readDefault(cell = '', leaseDuration = 15_000): unknown {
  const [code] = cell.startsWith('`') ? findCode(cell) : [];
  const [, divisor] = /^leaseDuration \/ (\d+)$/.exec(code ?? '') ?? [];
  if (divisor !== undefined) {
    return leaseDuration / Number(divisor);
  }
  return code === undefined || code.startsWith('<')
    ? code
    : JSON.parse(code.replaceAll("'", '"'));
}
