/** Parses MicroTime (RFC 3339 with exactly six fraction digits) as strictly as Go's `time.Parse`, with its messages. */

const LAYOUT = '2006-01-02T15:04:05.000000Z07:00';

/** The elements of the layout: Go's notation, the pattern, and the range of the number. */
const ELEMENTS: readonly {
  element: string;
  pattern: RegExp;
  range?: [name: string, min: number, max: number];
}[] = [
  { element: '2006', pattern: /^\d{4}/ },
  { element: '-', pattern: /^-/ },
  { element: '01', pattern: /^\d\d/, range: ['month', 1, 12] },
  { element: '-', pattern: /^-/ },
  { element: '02', pattern: /^\d\d/, range: ['day', 1, 31] },
  { element: 'T', pattern: /^T/ },
  { element: '15', pattern: /^\d\d?/, range: ['hour', 0, 23] },
  { element: ':', pattern: /^:/ },
  { element: '04', pattern: /^\d\d/, range: ['minute', 0, 59] },
  { element: ':', pattern: /^:/ },
  { element: '05', pattern: /^\d\d/, range: ['second', 0, 59] },
  { element: '.000000', pattern: /^[.,]\d{6}/ },
  { element: 'Z07:00', pattern: /^(?:Z|[+-]\d\d:\d\d)/ },
];

/** Go's zero time, which is stored as null. */
const ZERO = '0001-01-01T00:00:00.000000Z';

/**
 * Reads a MicroTime.
 *
 * @returns the time in UTC, as the API server returns it; undefined for Go's zero time.
 * @throws an Error with Go's message.
 */
export function parseMicroTime(value: string): string | undefined {
  const found: string[] = [];
  let rest = value;
  for (const { element, pattern, range } of ELEMENTS) {
    const [text] = pattern.exec(rest) ?? [];
    if (text === undefined) {
      throw new Error(
        `parsing time ${JSON.stringify(value)} as ${JSON.stringify(LAYOUT)}: cannot parse ${JSON.stringify(rest)} as ${JSON.stringify(element)}`,
      );
    }
    if (range && (Number(text) < range[1] || Number(text) > range[2])) {
      throw outOfRange(value, range[0]);
    }
    found.push(text);
    rest = rest.slice(text.length);
  }
  if (rest !== '') {
    throw new Error(
      `parsing time ${JSON.stringify(value)}: extra text: ${JSON.stringify(rest)}`,
    );
  }
  const [year, , month, , day, , hour, , minute, , second, fraction, zone] =
    found;
  const at = new Date(0);
  // Not by the constructor, which reads the year 1 as 1901.
  at.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  if (at.getUTCDate() !== Number(day)) {
    throw outOfRange(value, 'day');
  }
  at.setUTCHours(Number(hour), Number(minute), Number(second));
  const utc = at.getTime() - offset(zone!);
  const iso = new Date(utc).toISOString();
  const text = iso.replace(/\.\d+Z$/, `.${fraction!.slice(1)}Z`);
  return text === ZERO ? undefined : text;
}

const outOfRange = (value: string, what: string) =>
  new Error(`parsing time ${JSON.stringify(value)}: ${what} out of range`);

/** The offset of a zone from UTC in milliseconds. */
function offset(zone: string): number {
  if (zone === 'Z') {
    return 0;
  }
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4));
  return (zone.startsWith('-') ? -minutes : minutes) * 60_000;
}
