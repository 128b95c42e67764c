/** What a call of a method under @WithLeaseLock does, and what the decorator refuses. */
import { applyDecorators, Injectable } from '@nestjs/common';
import { filter, firstValueFrom } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  currentLock,
  LockConfigurationError,
  LockLostError,
  LockNotAcquiredError,
  WithLeaseLock,
  type LeaseLock,
} from '../../lib/index.js';
import {
  decorateMethod,
  defer,
  LIVELY,
  startLockApp,
  type LockApp,
} from './lock-app.js';
import { aborted } from '../support/aborted.js';

class OutOfStock extends Error {}

@Injectable()
class Orders {
  readonly tenant = 'acme';
  runs = 0;

  @WithLeaseLock('orders-total')
  async total(...amounts: number[]) {
    return amounts.reduce((sum, amount) => sum + amount, this.runs);
  }

  @WithLeaseLock('orders-fail')
  async fail(error: unknown) {
    throw error;
  }

  @WithLeaseLock('orders-throw-early')
  failAtOnce(): Promise<never> {
    throw new OutOfStock('at once');
  }

  @WithLeaseLock((id: string) => `order-${id}`)
  async settle(id: string, _amount = 0) {
    return [id, currentLock()?.name];
  }

  @WithLeaseLock(function (this: Orders, id: string) {
    return `${this.tenant}-${id}`;
  })
  async ship(_id: string) {
    return currentLock()?.name;
  }

  @WithLeaseLock((name: string) => name)
  async named(_name: string) {
    this.runs += 1;
  }

  @WithLeaseLock(() => {
    throw new OutOfStock('no name');
  })
  async unnamed() {
    this.runs += 1;
  }

  @WithLeaseLock('orders-wait', { waitTimeout: 1_000 })
  async waitShortly() {
    this.runs += 1;
  }

  @WithLeaseLock('orders-skip', { onLocked: 'skip' })
  async skip(): Promise<string | undefined> {
    this.runs += 1;
    return 'ran';
  }

  @WithLeaseLock('orders-throw', { onLocked: 'throw' })
  async throwAtOnce() {
    this.runs += 1;
  }

  @WithLeaseLock('orders-run')
  async run<T>(work: () => Promise<T>) {
    return work();
  }

  @WithLeaseLock((name: string) => name)
  async runAs<T>(_name: string, work: () => Promise<T>) {
    return work();
  }

  @WithLeaseLock('orders-outlive', { leaseDuration: 2_000, renewInterval: 30 })
  async outlive<T>(work: (lock: LeaseLock) => Promise<T>) {
    return work(currentLock()!);
  }

  @WithLeaseLock('orders-outer')
  @WithLeaseLock('orders-inner')
  async twice() {
    return currentLock()?.name;
  }
}

let fixture: LockApp;
let orders: Orders;

beforeAll(async () => {
  fixture = await startLockApp({ providers: [Orders] });
  orders = fixture.app.get(Orders);
});
afterAll(() => fixture[Symbol.asyncDispose]());

/** The holder in the record, undefined when it is free. */
const holderOf = (name: string): string | undefined =>
  fixture.server.lease({ namespace: 'default', name })?.spec?.holderIdentity ||
  undefined;

describe('a call', () => {
  it('passes "this", the arguments and the result through', async () => {
    expect(await orders.total(1, 2, 3)).toBe(6);
  });

  it('holds the lock until the promise settles, and releases it before the caller goes on', async () => {
    const work = defer<string>();
    const started = defer();
    const call = orders.run(async () => {
      started.resolve();
      return work.promise;
    });
    await started.promise;
    expect(holderOf('orders-run')).toBeDefined();
    work.resolve('done');
    expect(await call).toBe('done');
    expect(holderOf('orders-run')).toBeUndefined();
  });

  it('keeps two calls apart', async () => {
    let running = 0;
    const work = async () => {
      running += 1;
      const seen = running;
      await fixture.others.inspect('anything'); // a turn over the network
      running -= 1;
      return seen;
    };
    expect(await Promise.all([1, 2, 3].map(() => orders.run(work)))).toEqual([
      1, 1, 1,
    ]);
  });

  it.each([new OutOfStock('gone'), 'not an Error', undefined])(
    "rejects with the method's own error, and releases: %s",
    async (error) => {
      await expect(orders.fail(error)).rejects.toBe(error);
      expect(holderOf('orders-fail')).toBeUndefined();
    },
  );

  it('rejects when the method throws at once', async () => {
    await expect(orders.failAtOnce()).rejects.toThrow(OutOfStock);
    expect(holderOf('orders-throw-early')).toBeUndefined();
  });

  it.each([
    ['result', async () => 'done', { status: 'fulfilled', value: 'done' }],
    [
      'own error',
      () => Promise.reject('gone'),
      { status: 'rejected', reason: 'gone' },
    ],
  ])(
    "comes to the method's %s when the release fails",
    async (_, end, outcome) => {
      // Of a new Lease the first update is the release.
      using failure = fixture.server.faults.inject(
        { kind: 'status', code: 500 },
        { verb: 'update', name: `fresh-${outcome.status}`, times: 1 },
      );
      const call = orders.runAs(`fresh-${outcome.status}`, end);
      expect(await Promise.allSettled([call])).toEqual([outcome]);
      expect(failure.hits).toBe(1);
    },
  );

  it('runs under the innermost lock when there are two', async () => {
    expect(await orders.twice()).toBe('orders-inner');
    expect(holderOf('orders-outer')).toBeUndefined();
    expect(holderOf('orders-inner')).toBeUndefined();
  });

  it('runs on when the same lock is already held above', async () => {
    const nested = orders.run(() =>
      orders.run(async () => [currentLock()?.name, holderOf('orders-run')]),
    );
    expect(await nested).toEqual(['orders-run', expect.stringContaining('_')]);
    expect(holderOf('orders-run')).toBeUndefined();
  });

  it('gives currentLock() back what it was after a nested call', async () => {
    const names = await orders.run(async () => {
      const before = currentLock()?.name;
      const inside = await orders.ship('7');
      return [before, inside, currentLock()?.name];
    });
    expect(names).toEqual(['orders-run', 'acme-7', 'orders-run']);
    expect(currentLock()).toBeUndefined();
  });
});

describe('the lock name', () => {
  it('is made from the arguments', async () => {
    expect(await orders.settle('7', 12)).toEqual(['7', 'order-7']);
  });

  it('is made with the instance as "this"', async () => {
    expect(await orders.ship('7')).toBe('acme-7');
  });

  it.each([
    ['', 'must not be empty'],
    [undefined, 'must be a string, not undefined'],
    [7, 'must be a string, not 7'],
    [
      Promise.resolve('order'),
      'must be a string, not a Promise: the function for it cannot be async',
    ],
  ])('that is %o is refused without a run', async (name, fault) => {
    const runs = orders.runs;
    const call: Promise<unknown> = Reflect.apply(
      Reflect.get(orders, 'named'),
      orders,
      [name],
    );
    await expect(call).rejects.toThrow(LockConfigurationError);
    await expect(call).rejects.toThrow(
      `Orders.named did not run: the lock name ${fault}`,
    );
    expect(orders.runs).toBe(runs);
  });

  it('function may throw: the call rejects with its error', async () => {
    const runs = orders.runs;
    await expect(orders.unnamed()).rejects.toThrow(OutOfStock);
    expect(orders.runs).toBe(runs);
  });
});

describe('when the lock is taken', () => {
  it("'wait' waits, up to waitTimeout", async () => {
    await using _ = await fixture.others.acquire('orders-wait');
    const runs = orders.runs;
    const call = orders.waitShortly();
    await expect(call).rejects.toThrow(LockNotAcquiredError);
    await expect(call).rejects.toMatchObject({ reason: 'timeout' });
    expect(orders.runs).toBe(runs);
  });

  it("'wait' runs once the lock is free", async () => {
    const held = await fixture.others.acquire('order-8');
    const call = orders.settle('8');
    await fixture.server.requests.next({ verb: 'watch', name: 'order-8' });
    await held.release();
    expect(await call).toEqual(['8', 'order-8']);
  });

  it("'skip' runs when it is free", async () => {
    expect(await orders.skip()).toBe('ran');
  });

  it("'skip' resolves with undefined", async () => {
    await using _ = await fixture.others.acquire('orders-skip', LIVELY);
    const runs = orders.runs;
    expect(await orders.skip()).toBeUndefined();
    expect(orders.runs).toBe(runs);
  });

  it("'throw' rejects at once", async () => {
    await using _ = await fixture.others.acquire('orders-throw');
    const runs = orders.runs;
    const call = orders.throwAtOnce();
    await expect(call).rejects.toThrow(LockNotAcquiredError);
    await expect(call).rejects.toMatchObject({ reason: 'held' });
    expect(orders.runs).toBe(runs);
  });
});

describe('a lost lock', () => {
  it('aborts the signal, and the call resolves all the same', async () => {
    const reason = await orders.outlive(async (lock) => {
      await fixture.others.forceRelease('orders-outlive');
      await aborted(lock.signal);
      return lock.signal.reason;
    });
    expect(reason).toBeInstanceOf(LockLostError);
    expect(reason).toMatchObject({ reason: 'freed' });
  });

  it("leaves the call to reject with the method's own error", async () => {
    const error = new OutOfStock('gone');
    const call = orders.outlive(async (lock) => {
      await fixture.others.forceRelease('orders-outlive');
      await aborted(lock.signal);
      throw error;
    });
    await expect(call).rejects.toBe(error);
  });
});

const markIt: MethodDecorator = (_target, _key, descriptor) => {
  Object.assign(Object(descriptor.value), { mark: 'kept' });
};

describe('the wrapper', () => {
  it('has the name, length and properties of the method', () => {
    class Marked {
      @WithLeaseLock('marked')
      @markIt
      async run(_first: string, _second: number) {}
    }
    expect(
      Object.getOwnPropertyDescriptors(Reflect.get(Marked.prototype, 'run')),
    ).toMatchObject({
      name: { value: 'run' },
      length: { value: 2 },
      mark: { value: 'kept' },
    });
  });

  it("leaves the class's own metadata about the method alone", () => {
    const key = 'design:paramtypes';
    expect(Reflect.getMetadata(key, Orders.prototype, 'settle')).toEqual([
      String,
      Object,
    ]);
  });
});

/** A decorator that hides the kind of the method. */
const passOn: MethodDecorator = (_target, _key, descriptor) => {
  const inner: Function = Reflect.get(Object(descriptor), 'value');
  Reflect.set(
    descriptor,
    'value',
    function (this: unknown, ...args: unknown[]) {
      return Reflect.apply(inner, this, args);
    },
  );
};

describe('a method that returns a generator, whose body would run after the release', () => {
  let begun = 0;
  async function* body(): AsyncGenerator<number> {
    begun += 1;
    yield begun;
  }

  @Injectable()
  class Lists {
    @WithLeaseLock('lists-returned')
    async returned() {
      return body();
    }

    async *wrapped() {
      yield* body();
    }

    @WithLeaseLock('lists-values')
    async values() {
      return [1, 2].values();
    }
  }
  decorateMethod(Lists.prototype, 'wrapped', [
    applyDecorators(WithLeaseLock('lists-wrapped')),
    passOn,
  ]);

  let app: LockApp;
  beforeAll(async () => {
    app = await startLockApp({ providers: [Lists] });
  });
  afterAll(() => app[Symbol.asyncDispose]());

  it.each(['returned', 'wrapped'] as const)('is refused: %s', async (key) => {
    const failed = firstValueFrom(
      app.locks.events$.pipe(filter(({ type }) => type === 'failed')),
    );
    const call: Promise<unknown> = Reflect.apply(
      Lists.prototype[key],
      app.app.get(Lists),
      [],
    );
    const error: unknown = await call.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LockConfigurationError);
    expect(error).toMatchObject({
      faults: [
        `Lists.${key} returned a generator, whose work would run after the lock has been released: return a Promise of its values, or an Observable`,
      ],
    });
    expect(await failed).toMatchObject({ name: `lists-${key}`, error });
    expect(begun).toBe(0);
    expect((await app.locks.inspect(`lists-${key}`)).state).toBe('free');
  });

  it('is not one that returns an iterator of a collection', async () => {
    expect([...(await app.app.get(Lists).values())]).toEqual([1, 2]);
  });
});

/** What the compiler refuses too, from JavaScript or past the types. */
function decorate(target: object, key?: string): void {
  applyDecorators(WithLeaseLock('refused'))(
    target,
    key,
    key === undefined
      ? undefined
      : Object.getOwnPropertyDescriptor(target, key),
  );
}

describe('at decoration', () => {
  class Refused {
    static async onTheClass() {}
    get accessor() {
      return 1;
    }
    *generator() {
      yield 1;
    }
    async *asyncGenerator() {
      yield 1;
    }
  }

  it.each([
    [Refused, 'onTheClass', 'the static method Refused.onTheClass'],
    [Refused.prototype, 'accessor', 'Refused.accessor: it is not a method'],
    [Refused.prototype, 'generator', 'the generator Refused.generator'],
    [
      Refused.prototype,
      'asyncGenerator',
      'the generator Refused.asyncGenerator',
    ],
    [Refused.prototype, 'property', 'Refused.property: it is not a method'],
    [Refused, undefined, 'the class Refused'],
  ])('is refused: %#', (target, key, message) => {
    expect(() => decorate(target, key)).toThrow(LockConfigurationError);
    expect(() => decorate(target, key)).toThrow(message);
  });
});
