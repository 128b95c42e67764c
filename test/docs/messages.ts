/** The texts in the source of the library that a user may see, in messages, in the log, or from the compiler. */
import { fileURLToPath } from 'node:url';
import { SyntaxKind, type Node } from 'typescript/unstable/ast';
import { API } from 'typescript/unstable/sync';

export interface Text {
  /** From the root of the repository. */
  readonly file: string;
  /** What stands between two values that are filled in. */
  readonly text: string;
}

/**
 * Texts for others than the users of the library, or that stand on another page: scripts of shells, findings that say
 * themselves what to do, and answers of the embedded API server in the words of Kubernetes.
 */
const ELSEWHERE =
  /^lib\/(?:cli\/(?:completion|doctor|output)|testing\/(?:access|api-status|direct-lease-store|http-front|lease-(?:api|codec|storage|validation)|patch|request-options|routes|selectors|watches)\.ts|telemetry\/lock-meter|dashboard\/(?:page|dashboard\.controller))/;

/** The fixed parts of all strings and templates. */
export function findTexts(): Text[] {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const config = `${root}tsconfig.json`;
  const api = new API({ cwd: root });
  try {
    const { program, rootFiles } = api
      .updateSnapshot({ openProject: config })
      .getProject(config)!;
    return rootFiles.flatMap((path) => {
      const file = path.slice(root.length);
      const source = program.getSourceFile(path);
      return source === undefined || ELSEWHERE.test(file)
        ? []
        : textsIn(source).map((text) => ({ file, text }));
    });
  } finally {
    api.close();
  }
}

/** Nobody sees these. */
const NAME_OF_SYMBOL = /^nestjs-k8s-lock: \w/;

const FIXED_PARTS: readonly SyntaxKind[] = [
  SyntaxKind.StringLiteral,
  SyntaxKind.NoSubstitutionTemplateLiteral,
  SyntaxKind.TemplateHead,
  SyntaxKind.TemplateMiddle,
  SyntaxKind.TemplateTail,
];

function textsIn(node: Node): string[] {
  if (isHelp(node)) {
    return [];
  }
  if (FIXED_PARTS.includes(node.kind)) {
    const text: string = Reflect.get(node, 'text');
    return NAME_OF_SYMBOL.test(text) ? [] : [text];
  }
  const texts: string[] = [];
  node.forEachChild((child) => {
    texts.push(...textsIn(child));
  });
  return texts;
}

/** What `--help` shows of a command or a flag. */
function isHelp(node: Node): boolean {
  return (
    node.kind === SyntaxKind.PropertyAssignment &&
    Reflect.get(Reflect.get(node, 'name'), 'text') === 'about'
  );
}
