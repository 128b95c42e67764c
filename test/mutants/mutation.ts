/** Breaks in this process what a mutant names, as its module is loaded. */
import type { AnyFunction, Mutant, Wrapper } from './mutant.js';

/** The global function that exposed modules call with what they declare; see `exposed-lib.ts`. */
export const HOOK = 'breakForMutant';

/** As much of a class as is used. */
type Class = AnyFunction & { readonly prototype: object };

export class Mutation {
  /** How often what is broken was called. */
  entered = 0;
  private readonly missing: Set<string>;

  /** Modules that are loaded already stay whole. */
  constructor(private readonly mutant: Mutant) {
    this.missing = new Set(Object.keys(mutant.breaks));
    Object.assign(globalThis, {
      [HOOK]: (name: string, declared: Class) => this.replace(name, declared),
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

  /** @returns what is to stand in the place of a function, or of a class */
  private replace(name: string, declared: Class): AnyFunction {
    let result: AnyFunction = declared;
    for (const [address, wrap] of Object.entries(this.mutant.breaks)) {
      const [owner, member] = address.split('#');
      if (owner === name) {
        if (member === undefined) {
          result = this.broken(declared, wrap);
        } else {
          this.breakMember(declared.prototype, member, wrap);
        }
        this.missing.delete(address);
      }
    }
    return result;
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
