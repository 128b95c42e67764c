/** Shifts the wall clock of this process by `CLOCK_SHIFT` milliseconds. To be imported before anything that reads it. */

const shift = Number(process.env.CLOCK_SHIFT ?? 0);
const RealDate = Date;
const now = (): number => RealDate.now() + shift;

// A program reads the wall clock through Date only: timers use the monotonic clock.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, parameters, newTarget) =>
    Reflect.construct(
      target,
      parameters.length === 0 ? [now()] : parameters,
      newTarget,
    ),
  get: (target, property) =>
    property === 'now' ? now : Reflect.get(target, property),
});
