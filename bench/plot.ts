/** Draws the contention of pods: locks a second, of each lock and for each number of pods, as an SVG. */
import type { Row } from './report.js';

/** They stand out against a light and against a dark page. */
const COLOURS = ['#2f81f7', '#d29922', '#bc4c00', '#8957e5', '#8b949e'];
const WIDTH = 760;
const PANEL = 210;
const TOP = 70;
const GAP = 46;
/** A share of the unluckiest pod from which a bar is pale. */
const STARVES = 0.5;

/** @param rows those of the table of `contention` */
export function plotContention(rows: readonly Row[]): string {
  const locks = unique(rows, 'lock');
  const sections = unique(rows, 'section ms');
  const most = Math.max(...rows.map((row) => Number(row['locks/s'])));
  const height = TOP + sections.length * (PANEL + GAP);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="11">`,
    '<title>Locks a second under contention</title>',
    '<style>text{fill:#57606a}@media(prefers-color-scheme:dark){text{fill:#9198a1}}</style>',
    ...locks.flatMap((lock, index) => [
      `<rect x="${10 + index * 150}" y="10" width="12" height="12" fill="${COLOURS[index]}"/>`,
      text(28 + index * 150, 20, String(lock)),
    ]),
    text(
      10,
      42,
      `Locks a second. Pale: the unluckiest pod got less than half of what the luckiest got.`,
    ),
    ...sections.flatMap((section, index) =>
      drawPanel(
        rows.filter((row) => row['section ms'] === section),
        TOP + index * (PANEL + GAP),
        most,
        locks,
      ),
    ),
    '</svg>',
  ];
  return `${parts.join('\n')}\n`;
}

function drawPanel(
  rows: readonly Row[],
  top: number,
  most: number,
  locks: readonly unknown[],
): string[] {
  const crowds = unique(rows, 'pods');
  const group = (WIDTH - 20) / crowds.length;
  const bar = (group - 24) / locks.length;
  const section = rows[0]?.['section ms'];
  return [
    ...rows.flatMap((row) => {
      const value = Number(row['locks/s']);
      const index = locks.indexOf(row.lock);
      const x = 10 + crowds.indexOf(row.pods!) * group + 12 + index * bar;
      const size = (value / most) * (PANEL - 20);
      const y = top + PANEL - size;
      const opacity = Number(row['least/most']) < STARVES ? 0.4 : 1;
      return [
        `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${(bar - 3).toFixed(1)}" height="${size.toFixed(1)}" fill="${COLOURS[index]}" opacity="${opacity}"/>`,
        text(x + (bar - 3) / 2, y - 4, value.toFixed(0), 'middle'),
      ];
    }),
    ...crowds.map((pods, index) =>
      text(
        10 + (index + 0.5) * group,
        top + PANEL + 16,
        `${pods} pods, ${section === 0 ? 'empty section' : `section of ${section} ms`}`,
        'middle',
      ),
    ),
  ];
}

function text(x: number, y: number, content: string, anchor = 'start'): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${content}</text>`;
}

function unique(rows: readonly Row[], column: string): (string | number)[] {
  return [...new Set(rows.map((row) => row[column]!))];
}
