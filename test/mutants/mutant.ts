/** Mutants: deliberate breakings of lib, one rule each. Each stands in a `*.mutants.ts` next to a spec of its rule. */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Any function of lib: a mutant names what it breaks, and depends on no more of it than it says. */
// oxlint-disable-next-line typescript/no-explicit-any
export type AnyFunction = (this: any, ...args: any[]) => any;

export interface Mutant {
  /** The rule of docs/lease-rules.md that it breaks, by its number; in words what has none. */
  readonly rule: string;
  /** What it does wrong. */
  readonly name: string;
  /**
   * What stands in the place of a function of lib: of `'readHolder'`, declared at the top of any module, or of
   * `'LeaseHolder#deadline'`, a method or getter of a class. It is made from the original, and may change what
   * that one is given, what it returns, when it is called, and whether it is called at all.
   */
  readonly breaks: Breaks;
  /**
   * What must find it: the simulator, in scenarios of this kind, or the spec beside it where the simulator does not
   * play that part.
   */
  readonly caughtBy:
    | 'simulator'
    | 'simulator of semaphores'
    | 'simulator of elections'
    | 'simulator of lines'
    | 'spec';
}

export type Wrapper = (original: AnyFunction) => AnyFunction;

type Breaks = Readonly<Record<string, Wrapper>>;

/**
 * The mutants of a rule, by what they do wrong.
 *
 * @param rule its number, `A7`, or words: see {@link Mutant.rule}
 */
export function mutantsOf(
  rule: string,
  breakings: Readonly<Record<string, Breaks>>,
  caughtBy: Mutant['caughtBy'] = 'simulator',
): readonly Mutant[] {
  return Object.entries(breakings).map(([name, breaks]) => ({
    rule,
    name,
    breaks,
    caughtBy,
  }));
}

export interface FoundMutant extends Mutant {
  /** The module that has it, `test/lock/r8-deadline.mutants.ts` or what was compiled from that. */
  readonly file: string;
}

const tests = dirname(dirname(fileURLToPath(import.meta.url)));

/** Reads the mutants of all rules, of the sources or of what was compiled from them. */
export async function readMutants(): Promise<readonly FoundMutant[]> {
  const names = await readdir(tests, { recursive: true });
  const files = names
    .filter((name) => /\.mutants\.[jt]s$/.test(name))
    .toSorted()
    .map((name) => join(tests, name));
  const found = await Promise.all(files.map(readMutantsOf));
  return found.flat();
}

async function readMutantsOf(file: string): Promise<FoundMutant[]> {
  const module: { mutants: readonly Mutant[] } = await import(
    pathToFileURL(file).href
  );
  return module.mutants.map((mutant) => ({ ...mutant, file }));
}

/** @param name of a mutant, or a part of it that no other has */
export async function findMutant(name: string): Promise<FoundMutant> {
  const mutants = await readMutants();
  const exact = mutants.filter((mutant) => mutant.name === name);
  const matching = mutants.filter((mutant) => mutant.name.includes(name));
  const [found, ...others] = exact.length > 0 ? exact : matching;
  if (found === undefined || others.length > 0) {
    throw new Error(
      `"${name}" is not a part of one name of:\n${mutants.map((mutant) => `- ${mutant.name}`).join('\n')}`,
    );
  }
  return found;
}
