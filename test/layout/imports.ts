/** Reads what a TypeScript source imports, or requires, from its syntax tree. */
import { parseAst } from 'vitest/node';

export interface Import {
  readonly specifier: string;
  /** `type` leaves nothing in the JavaScript; `dynamic` is loaded when the call comes. */
  readonly kind: 'static' | 'dynamic' | 'type';
}

/** All imports and re-exports, wherever they stand. */
export function readImports(source: string): Import[] {
  const imports: Import[] = [];
  visit(parseAst(source, { lang: 'ts' }), imports);
  return imports;
}

interface Literal {
  readonly value?: unknown;
}

interface Node {
  readonly type: string;
  readonly source?: Literal | null;
  readonly callee?: { readonly name?: string };
  readonly arguments?: readonly Literal[];
  readonly importKind?: string;
  readonly exportKind?: string;
  readonly specifiers?: readonly Node[];
}

const KINDS: Record<string, Import['kind']> = {
  ImportDeclaration: 'static',
  ExportNamedDeclaration: 'static',
  ExportAllDeclaration: 'static',
  ImportExpression: 'dynamic',
  TSImportType: 'type',
  CallExpression: 'dynamic',
};

function visit(node: unknown, imports: Import[]): void {
  if (Array.isArray(node)) {
    for (const each of node) {
      visit(each, imports);
    }
  } else if (isNode(node)) {
    const kind = KINDS[node.type];
    const specifier = (isRequire(node) ? node.arguments?.[0] : node.source)
      ?.value;
    if (kind !== undefined && typeof specifier === 'string') {
      imports.push({ specifier, kind: isTypeOnly(node) ? 'type' : kind });
    }
    visit(Object.values(node), imports);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value;
}

function isRequire({ type, callee }: Node): boolean {
  return type === 'CallExpression' && callee?.name === 'require';
}

/** `import type …`, or each name by itself with `type`. */
function isTypeOnly({
  importKind,
  exportKind,
  specifiers = [],
}: Node): boolean {
  return (
    importKind === 'type' ||
    exportKind === 'type' ||
    (specifiers.length > 0 &&
      specifiers.every(
        (each) => each.importKind === 'type' || each.exportKind === 'type',
      ))
  );
}
