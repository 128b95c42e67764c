/** Chance from a seed: the same seed gives the same numbers, on any machine. */

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

/** The generator `sfc32`. */
export class Random {
  private a = 0x9e3779b9;
  private b = 0x243f6a88;
  private c = 0xb7e15162;
  private d: number;

  constructor(private readonly seed: string) {
    this.d = hashOf(seed);
    for (let i = 0; i < 12; i += 1) {
      this.next();
    }
  }

  /** A stream of its own: what others draw does not change it. */
  fork(label: string): Random {
    return new Random(`${this.seed}/${label}`);
  }

  /** 0 <= n < 1. */
  next(): number {
    const sum = (this.a + this.b + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum;
    return (sum >>> 0) / 0x1_0000_0000;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  /** Small values as likely as great ones are, by their order of magnitude. */
  magnitude(least: number, most: number): number {
    return least * (most / least) ** this.next();
  }

  /** A whole number, `least <= n <= most`. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick<T>(items: readonly T[]): T {
    return items[this.whole(0, items.length - 1)]!;
  }
}
