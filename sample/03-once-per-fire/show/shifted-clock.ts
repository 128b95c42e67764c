/** Sets this process's wall clock off by `CLOCK_SHIFT` milliseconds. To be imported before anything that tells the time. */

const shift = Number(process.env.CLOCK_SHIFT ?? 0);
const RealDate = Date;
const now = (): number => RealDate.now() + shift;

// All that a program can read of the wall clock is Date: timers go by the monotonic clock.
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
