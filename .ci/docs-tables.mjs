/**
 * Writes the tables of README.md and docs/ that repeat the source: options, events, reasons, members and
 * metrics, from the types and their comments. A table stands between two markers:
 *
 *     <!-- table: options lib/k8s-lock.options.ts#LockOptions -->
 *     <!-- /table -->
 *
 * `npm run docs:tables` writes them; with `-- --check` it fails if a page would change.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { API } from 'typescript/unstable/sync';
import { SyntaxKind } from 'typescript/unstable/ast';

const root = fileURLToPath(new URL('..', import.meta.url));
const path = (name) => `${root}${name}`;

const api = new API({ cwd: root });
const { program } = api
  .updateSnapshot({ openProject: path('tsconfig.json') })
  .getProject(path('tsconfig.json'));

/** What each kind of table is made of; each argument is `file#Declaration`, or `file#Declaration:member,member`. */
const TABLES = {
  options: (...sources) =>
    table(
      ['Option', 'Default', 'Meaning'],
      sources.flatMap(membersOf).map(({ name, comment, tags }) => {
        if (tags.defaultValue === undefined) {
          throw new Error(`the option ${name} has no @defaultValue`);
        }
        return [code(name), tags.defaultValue, comment];
      }),
    ),

  members: (source) =>
    table(
      ['Member', 'What it is'],
      membersOf(source)
        .filter(({ name, tags }) => name && tags.internal === undefined)
        .map(({ name, comment, isMethod }) => [
          code(isMethod ? `${name}()` : name),
          comment,
        ]),
    ),

  reasons: (...sources) =>
    table(
      ['`reason`', 'Why'],
      sources
        .flatMap((source) => literalsOf(source))
        .map(({ value, comment }) => [code(value), comment]),
    ),

  events: (source) => {
    const { file, node } = find(source);
    return table(
      ['Event', 'When', 'Carries'],
      node.type.types.map((type) => {
        const event = `${file}#${type.typeName.text}`;
        const members = membersOf(event);
        return [
          code(members.find(({ name }) => name === 'type').literal),
          commentOf(find(event).node).comment,
          members
            .filter(({ name }) => name !== 'type')
            .map(({ name }) => code(name))
            .join(', '),
        ];
      }),
    );
  },

  metrics: (names, meter) => {
    const attributes = new Map(
      membersOf(names).map(({ name, literal, comment }) => [
        name,
        { literal, comment },
      ]),
    );
    return table(
      ['Metric', 'Kind and unit', 'What it is', 'Attributes'],
      instrumentsIn(meter).map(({ kind, name, unit, description }) => {
        const { literal, comment } = attributes.get(name);
        return [code(literal), `${kind}, ${code(unit)}`, description, comment];
      }),
    );
  },
};

const pages = [
  'README.md',
  ...(await readdir(path('docs'))).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'));
const stale = [];
for (const page of pages) {
  // oxlint-disable-next-line no-await-in-loop -- a handful of files
  const [before, config] = await Promise.all([
    readFile(path(page), 'utf8'),
    resolveConfig(path(page)),
  ]);
  const filled = before.replace(
    /(<!-- table: (\w+) (.+?) -->\n)[\s\S]*?(<!-- \/table -->)/g,
    (_, start, kind, sources, end) =>
      `${start}\n${TABLES[kind](...sources.split(' '))}\n\n${end}`,
  );
  // oxlint-disable-next-line no-await-in-loop
  const after = await format(filled, { ...config, filepath: path(page) });
  if (after !== before) {
    stale.push(page);
    if (!process.argv.includes('--check')) {
      // oxlint-disable-next-line no-await-in-loop
      await writeFile(path(page), after);
    }
  }
}
api.close();
if (process.argv.includes('--check') && stale.length > 0) {
  console.error(
    `Not as the source has it: ${stale.join(', ')}. Run npm run docs:tables.`,
  );
  process.exitCode = 1;
}

/** @param source `file#Declaration` */
function find(source) {
  const [file, name] = source.split('#');
  const sourceFile = program.getSourceFile(path(file));
  const node = sourceFile?.statements.find(
    (statement) =>
      statement.name?.text === name ||
      statement.declarationList?.declarations[0]?.name.text === name,
  );
  if (node === undefined) {
    throw new Error(`${source} does not exist`);
  }
  return { file, node };
}

/** The members of an interface, a class, or a constant object: all, or those that are named. */
function membersOf(source) {
  const [declaration, chosen] = source.split(':');
  const { node } = find(declaration);
  const members =
    node.members ??
    unwrap(node.declarationList.declarations[0].initializer).properties;
  const all = [...members].filter(isPublic).map((member) => ({
    ...commentOf(member),
    name: member.name?.text,
    isMethod: member.kind === SyntaxKind.MethodDeclaration,
    literal: (member.type?.literal ?? member.initializer)?.text,
  }));
  return chosen === undefined
    ? all
    : chosen.split(',').map((name) => all.find((each) => each.name === name));
}

function isPublic({ modifiers = [] }) {
  return ![...modifiers].some(({ kind }) => kind === SyntaxKind.PrivateKeyword);
}

/** The literals of a union, each with the comment before it. */
function literalsOf(source) {
  const { node } = find(source);
  let end = node.type.pos;
  return [...node.type.types].map((type) => {
    const { comment } = readComment(
      type.getSourceFile().text.slice(end, type.end),
    );
    end = type.end;
    return { value: type.literal.text, comment };
  });
}

/** The instruments that are made in a file: `meter.createCounter(METRIC.name, { … })`. */
function instrumentsIn(file) {
  const kinds = {
    createCounter: 'counter',
    createHistogram: 'histogram',
    createObservableGauge: 'gauge',
    createUpDownCounter: 'up-down counter',
  };
  const found = [];
  const visit = (node) => {
    const kind =
      node.kind === SyntaxKind.CallExpression &&
      kinds[node.expression.name?.text];
    if (kind) {
      const [name, options] = node.arguments;
      const optionOf = (key) =>
        options.properties.find((each) => each.name.text === key).initializer
          .text;
      found.push({
        kind,
        name: name.name.text,
        unit: optionOf('unit'),
        description: optionOf('description'),
      });
    }
    node.forEachChild(visit);
  };
  program.getSourceFile(path(file)).forEachChild(visit);
  return found;
}

/** Without `as const` and the like. */
function unwrap(node) {
  return node.kind === SyntaxKind.AsExpression ? node.expression : node;
}

function commentOf(node) {
  return readComment(node.getSourceFile().text.slice(node.pos, node.end));
}

/** The text and the tags of the first comment. */
function readComment(text) {
  const [, body = ''] = /^\s*(?:\|\s*)?\/\*\*([\s\S]*?)\*\//.exec(text) ?? [];
  const [comment = '', ...tags] = body
    .replace(/^ *\* ?/gm, '')
    .split(/^@(?=\w)/m)
    .map((part) => part.trim().replace(/\s+/g, ' '));
  return {
    comment: comment.replace(/\{@link (\w+)\}/g, '`$1`'),
    tags: Object.fromEntries(
      tags.map((tag) => {
        const [name, ...rest] = tag.split(' ');
        return [name, rest.join(' ')];
      }),
    ),
  };
}

function code(text) {
  return `\`${text}\``;
}

function table(head, rows) {
  return [head, head.map(() => '---'), ...rows]
    .map(
      (cells) =>
        `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`,
    )
    .join('\n');
}
