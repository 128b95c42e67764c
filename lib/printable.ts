/** Makes text that others wrote fit for a message: on one line, of a sensible length, without control characters. */

const LONGEST_QUOTE = 256;

/** Quotes an arbitrary string for one line of a log. */
export function quote(text: string): string {
  return JSON.stringify(printable(text));
}

/** Cuts a string to a sensible length, and replaces control and format characters. */
export function printable(text: string, longest = LONGEST_QUOTE): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text;
  return cut.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '�');
}
