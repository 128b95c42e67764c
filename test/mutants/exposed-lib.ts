/** The functions and classes of lib by name, and modules of lib that let a mutant put something in their place. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAst } from 'vitest/node';
import { HOOK } from './mutation.js';
import type { Mutant } from './mutant.js';

const lib = fileURLToPath(new URL('../../lib', import.meta.url));

/** What a module declares at its top. */
interface Declaration {
  readonly name: string;
  /** The methods and getters of a class; undefined for a function. */
  readonly members?: readonly string[];
}

/** Which modules of lib have what a mutant may name, by that name. */
export async function addressesOfLib(): Promise<Map<string, string[]>> {
  const addresses = new Map<string, string[]>();
  for (const file of await filesIn(lib, /\.ts$/)) {
    // oxlint-disable-next-line no-await-in-loop -- a few small files
    const source = await readFile(join(lib, file), 'utf8');
    for (const { name, members } of declarationsOf(source, 'ts')) {
      const names = members?.map((member) => `${name}#${member}`) ?? [name];
      for (const each of names) {
        addresses.set(each, [...(addresses.get(each) ?? []), `lib/${file}`]);
      }
    }
  }
  return addresses;
}

/** What is wrong with what the mutant names; none: each is one function of lib. */
export function faultsOf(
  { name, breaks }: Pick<Mutant, 'name' | 'breaks'>,
  addresses: ReadonlyMap<string, readonly string[]>,
): string[] {
  return Object.keys(breaks).flatMap((address) => {
    const files = addresses.get(address) ?? [];
    const what = `The mutant "${name}" breaks ${address}, `;
    return files.length === 0
      ? `${what}and no module of lib declares a function (or a method or getter of a class) of that name. Was it renamed?`
      : files.length > 1
        ? `${what}which is declared more than once: ${files.join(', ')}. Give them names of their own.`
        : [];
  });
}

/** Adds to each module of a build of lib that it may be broken as it is loaded. */
export async function exposeBuild(folder: string): Promise<void> {
  for (const file of await filesIn(folder, /\.js$/)) {
    const path = join(folder, file);
    // oxlint-disable no-await-in-loop -- a few small files
    const source = await readFile(path, 'utf8');
    await writeFile(path, source + hooksFor(source, 'js'));
    // oxlint-enable no-await-in-loop
  }
}

/** The same for the source text of a module of lib. */
export function exposeSource(source: string): string {
  return source + hooksFor(source, 'ts');
}

/** A function that a module declares is a variable of it, which may be set; what was compiled to CommonJS exports a copy. */
function hooksFor(source: string, language: 'js' | 'ts'): string {
  return declarationsOf(source, language)
    .map(({ name, members }) => {
      const hook = `globalThis.${HOOK}`;
      if (members) {
        return `\n${hook}?.ofClass('${name}', ${name});`;
      }
      const isCopied = source.includes(`exports.${name} = ${name};`);
      return `\n${isCopied ? `exports.${name} = ` : ''}${name} = ${hook}?.ofFunction('${name}', ${name}) ?? ${name};`;
    })
    .join('');
}

function declarationsOf(source: string, lang: 'js' | 'ts'): Declaration[] {
  return parseAst(source, { lang }).body.flatMap((statement) => {
    const declaration =
      statement.type === 'ExportNamedDeclaration'
        ? statement.declaration
        : statement;
    if (declaration?.type === 'FunctionDeclaration') {
      return { name: declaration.id!.name };
    }
    if (declaration?.type === 'ClassDeclaration') {
      const members = declaration.body.body.flatMap((member) =>
        member.type === 'MethodDefinition' &&
        member.kind !== 'constructor' &&
        !member.static &&
        member.key.type === 'Identifier'
          ? member.key.name
          : [],
      );
      return { name: declaration.id!.name, members };
    }
    return [];
  });
}

async function filesIn(folder: string, pattern: RegExp): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  return names.filter((name) => pattern.test(name) && !name.endsWith('.d.ts'));
}
