/** Breaks in this process what a mutant names, as its module is loaded. */
import type { AnyFunction, Mutant, Wrapper } from './mutant.js';

/** The global object that exposed modules tell of what they declare; see `exposed-lib.ts`. */
export const HOOK = 'breakForMutant';

export class Mutation {
  /** How often what is broken was called. */
  entered = 0;
  private readonly missing: Set<string>;

  /** Modules that are loaded already stay whole. */
  constructor(private readonly mutant: Mutant) {
    this.missing = new Set(Object.keys(mutant.breaks));
    Object.assign(globalThis, {
      [HOOK]: {
        ofFunction: (name: string, declared: AnyFunction) =>
          this.breakFunction(name, declared),
        ofClass: (name: string, declared: { prototype: object }) =>
          this.breakClass(name, declared),
      },
    });
  }

  /** @throws unless all that the mutant names is broken by now */
  assertApplied(): void {
    if (this.missing.size > 0) {
      throw new Error(
        `The mutant "${this.mutant.name}" breaks ${[...this.missing].join(', ')}, which no module has that is loaded here.`,
      );
    }
  }

  /** @returns what is to stand in its place */
  private breakFunction(name: string, declared: AnyFunction): AnyFunction {
    const wrap = this.mutant.breaks[name];
    this.missing.delete(name);
    return wrap ? this.broken(declared, wrap) : declared;
  }

  private breakClass(name: string, { prototype }: { prototype: object }): void {
    for (const [address, wrap] of Object.entries(this.mutant.breaks)) {
      const [owner, member] = address.split('#');
      if (owner === name && member !== undefined) {
        this.breakMember(prototype, member, wrap);
        this.missing.delete(address);
      }
    }
  }

  private breakMember(prototype: object, member: string, wrap: Wrapper): void {
    const property = Object.getOwnPropertyDescriptor(prototype, member);
    const kind = property?.get ? 'get' : 'value';
    const original: AnyFunction | undefined = property?.[kind];
    if (typeof original !== 'function') {
      throw new TypeError(
        `The mutant "${this.mutant.name}" breaks "${member}", which is no method and no getter of its class.`,
      );
    }
    const broken = this.broken(original, wrap);
    Object.defineProperty(prototype, member, { ...property, [kind]: broken });
  }

  private broken(original: AnyFunction, wrap: Wrapper): AnyFunction {
    const broken = wrap(original);
    // oxlint-disable-next-line typescript/no-this-alias, unicorn/no-this-assignment -- `this` is another one below
    const mutation = this;
    return function (...args) {
      mutation.entered += 1;
      return broken.apply(this, args);
    };
  }
}
