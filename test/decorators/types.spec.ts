/** What the compiler refuses: this file is checked by `tsc -p test`, where a missing error is an error. */
import {
  applyDecorators,
  SetMetadata,
  UseInterceptors,
  type ExecutionContext,
} from '@nestjs/common';
import { of, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import {
  LeaseLockInterceptor,
  WithLeaseLock,
  type WithLeaseLockOptions,
} from '../../lib/index.js';

/** Everything that compiles. */
export class Accepted {
  readonly tenant = 'acme';
  private readonly secret = 'secret';

  @WithLeaseLock('name')
  async promise() {}

  @WithLeaseLock('name')
  observable(): Observable<number> {
    return of(this.secret.length);
  }

  @WithLeaseLock('name')
  async both(): Promise<Observable<number>> {
    return of(1);
  }

  @WithLeaseLock('name')
  async generic<T>(value: T): Promise<T> {
    return value;
  }

  @WithLeaseLock('name', { onLocked: 'skip', leaseDuration: 'infinite' })
  protected async notPublic() {}

  @WithLeaseLock('name', { onLocked: 'skip' })
  async mayBeSkipped(): Promise<string | undefined> {
    return this.secret;
  }

  @WithLeaseLock('name', { onLocked: 'skip' })
  async unknownResult(): Promise<unknown> {
    return this.secret;
  }

  @WithLeaseLock('name', { onLocked: 'skip' })
  observableOrSkipped(): Observable<number> {
    return of(1);
  }

  @WithLeaseLock('name', { onLocked: 'throw' })
  async neverSkipped(): Promise<string> {
    return this.secret;
  }

  @WithLeaseLock('name', { leaseDuration: 1_000 })
  async noPolicy(): Promise<string> {
    return this.secret;
  }

  @WithLeaseLock((id: string) => id)
  async exactly(_id: string) {}

  @WithLeaseLock((id: string) => id)
  async fewer(_id: string, _amount: number) {}

  @WithLeaseLock((id) => String(id))
  async inferred(_id: string) {}

  @WithLeaseLock(({ id }: { id: string }) => id)
  async wider(_order: { id: string; amount: number }) {}

  @WithLeaseLock((id?: string) => id ?? 'none')
  async optional(_id?: string) {}

  @WithLeaseLock(function (this: Accepted, id: string) {
    return `${this.tenant}-${this.secret}-${id}`;
  })
  async instance(_id: string) {}
}

const Nightly = (name: string) =>
  applyDecorators(SetMetadata('job', name), WithLeaseLock(name));

export class Composed {
  @Nightly('name')
  async run() {}
}

@UseInterceptors(LeaseLockInterceptor('name'))
export class Intercepted {
  @UseInterceptors(
    LeaseLockInterceptor('name', { onLocked: 'skip', leaseDuration: 1_000 }),
    LeaseLockInterceptor((context) => {
      const same: ExecutionContext = context;
      return same.getHandler().name;
    }),
    LeaseLockInterceptor(() => 'name'),
  )
  async run() {}
}

/** Every interceptor that does not compile. */
export const refusedInterceptors = () => [
  // @ts-expect-error: no name
  LeaseLockInterceptor(),

  // @ts-expect-error: a name can't be awaited
  LeaseLockInterceptor(async () => 'name'),

  // @ts-expect-error: the function gets the context, and no arguments of the handler
  LeaseLockInterceptor((id: string) => id),

  // @ts-expect-error: no such policy
  LeaseLockInterceptor('name', { onLocked: 'ignore' }),

  // @ts-expect-error: a handler has no fires
  LeaseLockInterceptor('name', { oncePerFire: true }),

  // @ts-expect-error: a handler has no fires
  LeaseLockInterceptor('name', { onFailure: 'retry' }),

  // @ts-expect-error: a handler has no fires
  LeaseLockInterceptor('name', { catchUp: true }),

  // @ts-expect-error: a signal belongs to one call
  LeaseLockInterceptor('name', { signal: AbortSignal.timeout(1) }),
];

const anyPolicy: WithLeaseLockOptions = { onLocked: 'wait' };

/** Everything that does not. The decorators are never applied: some would throw. */
export const makeRefused = () => {
  class Refused {
    // @ts-expect-error: returns neither a promise nor an Observable
    @WithLeaseLock('name')
    notAsync() {
      return 1;
    }

    // @ts-expect-error: may return neither
    @WithLeaseLock('name')
    sometimesAsync(): Promise<number> | number {
      return 1;
    }

    // @ts-expect-error: a generator
    @WithLeaseLock('name')
    *generator() {
      yield 1;
    }

    // @ts-expect-error: an async generator
    @WithLeaseLock('name')
    async *asyncGenerator() {
      yield 1;
    }

    // @ts-expect-error: an accessor
    @WithLeaseLock('name')
    get accessor() {
      return 1;
    }

    // @ts-expect-error: a property
    @WithLeaseLock('name')
    property = async () => {};

    // @ts-expect-error: a static method has no instance with a LockService
    @WithLeaseLock('name')
    static async onTheClass() {}

    // @ts-expect-error: another type
    @WithLeaseLock((id: number) => String(id))
    async otherType(_id: string) {}

    // @ts-expect-error: more parameters than the method has
    @WithLeaseLock((id: string, amount: number) => `${id}-${amount}`)
    async more(_id: string) {}

    // @ts-expect-error: the method's parameter may be missing
    @WithLeaseLock((id: string) => id)
    async optional(_id?: string) {}

    // @ts-expect-error: "this" is another class
    @WithLeaseLock(function (this: Date) {
      return this.toISOString();
    })
    async otherThis() {}

    // @ts-expect-error: a name can't be awaited
    @WithLeaseLock(async (id: string) => id)
    async asyncName(_id: string) {}

    // @ts-expect-error: a skipped call resolves with undefined
    @WithLeaseLock('name', { onLocked: 'skip' })
    async skipped(): Promise<string> {
      return 'ran';
    }

    // @ts-expect-error: a skipped call resolves with undefined
    @WithLeaseLock('name', { onLocked: 'skip' })
    async skippedUnannotated() {
      return 'ran';
    }

    // @ts-expect-error: a skipped call resolves with undefined, and no Observable
    @WithLeaseLock('name', { onLocked: 'skip' })
    async skippedObservable(): Promise<Observable<number>> {
      return of(1);
    }

    // @ts-expect-error: it may be 'skip'
    @WithLeaseLock('name', anyPolicy)
    async skippedMaybe(): Promise<string> {
      return 'ran';
    }

    // @ts-expect-error: no such option
    @WithLeaseLock('name', { onLocked: 'wait', onLock: 'skip' })
    async unknownOption() {}

    // @ts-expect-error: no such policy
    @WithLeaseLock('name', { onLocked: 'ignore' })
    async policy() {}

    // @ts-expect-error: a signal belongs to one call
    @WithLeaseLock('name', { signal: AbortSignal.timeout(1) })
    async signal() {}
  }
  return Refused;
};

describe('the types', () => {
  it('accept what the decorator accepts', () => {
    expect(Object.getOwnPropertyNames(Accepted.prototype)).toContain(
      'instance',
    );
  });

  it('leave what an interceptor refuses to the startup', () => {
    expect(refusedInterceptors()).toHaveLength(8);
  });

  it('refuse what the decorator refuses', () => {
    expect(makeRefused).toThrow('cannot be applied to');
  });
});
