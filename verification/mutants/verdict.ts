/** What came of a mutant. */
export interface Verdict {
  /** How often what it breaks was called. */
  readonly entered: number;
  /** What has found it, and where; undefined: nothing has. */
  readonly found?: {
    readonly what: string;
    /** Of the simulator. */
    readonly seed?: number;
  };
}
