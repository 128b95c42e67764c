/** Hostile input, and checks that a text is fit to be printed. */

const MEBIBYTE = 1024 * 1024;
const character = (codePoint: number): string =>
  String.fromCodePoint(codePoint);

/** By what they are. Each begins with something legal, so that the start of a name is no protection. */
export const HOSTILE_TEXTS: Readonly<Record<string, string>> = {
  'a line of a log': 'job\n[Nest] 1 - ERROR [K8sLockModule] released by force',
  'a carriage return': 'job\rgone',
  'the separators of lines of Unicode': `job${character(0x85)}a${character(0x2028)}b${character(0x2029)}c`,
  'an escape sequence that clears the terminal': `job${character(0x1b)}[2J${character(0x1b)}[31mred`,
  'a control sequence introducer in one character': `job${character(0x9b)}2J`,
  'a title for the terminal': `job${character(0x1b)}]0;owned${character(0x07)}`,
  'backspaces and a null character': `job${'\b'.repeat(3)}${character(0)}`,
  'marks that turn the writing direction': `job${character(0x202e)}gnp.exe${character(0x2066)}`,
  'characters without width': `j${character(0x200b)}o${character(0xfeff)}b`,
  'tags that nobody sees': `job${character(0xe0041)}${character(0xe007f)}`,
  'lone surrogates': 'job\ud800\udc00\ud83d',
  'a quotation mark to get out of': 'job" (Lease default/other): "',
  markup: 'job<script>alert(1)</script>',
  'a path out of its folder': 'job/../../secrets/admin',
  'an encoded path out of its folder': 'job%2e%2e%2f..%2fsecrets%2fadmin',
  'a query and a fragment': 'job?dryRun=All&x=#fragment',
  'a field selector': 'job,metadata.name!=x',
  'a backslash path': 'job\\..\\..\\secrets',
  placeholders: 'job %s %o ${process.env.HOME} {{constructor}}',
  'the name of a prototype': '__proto__',
  'a mebibyte': `job-${'x'.repeat(MEBIBYTE)}`,
  'a mebibyte of what needs escaping': `job${character(0x1b).repeat(MEBIBYTE)}`,
};

/** Of a message with a name, a Lease and a holder in it. */
const LONGEST_MESSAGE = 2_000;

/** Why a text is not fit for one line of a log; undefined if it is. */
export function findUnprintable(text: string): string | undefined {
  if (text.length > LONGEST_MESSAGE) {
    return `it has ${text.length} characters`;
  }
  const found = /[\p{C}\p{Zl}\p{Zp}]/u.exec(text);
  return found === null
    ? undefined
    : `U+${found[0].codePointAt(0)!.toString(16)} at ${found.index}: ${JSON.stringify(text.slice(0, 300))}`;
}
