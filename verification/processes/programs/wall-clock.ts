/** Falsifies this process's wall clock: all that a program can read of it is `Date`. */

const HOUR = 3_600_000;
const STEP_INTERVAL = 20;
const STEPS = [5, -3, 48, 0, -24];

const RealDate = Date;
let offset = 0;
const now = (): number => RealDate.now() + offset;

/** Sets the wall clock off by so many hours. */
export function skewWallClock(hours: number): void {
  offset = hours * HOUR;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, parameters) =>
      Reflect.construct(target, parameters.length === 0 ? [now()] : parameters),
    get: (target, property) =>
      property === 'now' ? now : Reflect.get(target, property),
  });
}

/** Steps the wall clock forth and back by hours, many times a second, for as long as the process lives. */
export function stepWallClock(): void {
  let step = 0;
  setInterval(
    () => skewWallClock(STEPS[step++ % STEPS.length]!),
    STEP_INTERVAL,
  ).unref();
}
