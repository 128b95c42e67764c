/** A client of the application's HTTP route. */
import { seconds, type Display } from '../../stage/display.js';

const ROUTE = '/invoices/send';

/** Calls the route of one replica and shows what it answers. */
export async function callRoute(
  replica: { name: string; url: string },
  display: Display,
  signal: AbortSignal,
): Promise<void> {
  const start = process.hrtime.bigint();
  display.log('client', 'POST', `${ROUTE} to ${replica.name}`, { at: start });
  try {
    const answer = await fetch(new URL(ROUTE, replica.url), {
      method: 'POST',
      signal,
    });
    await answer.text();
    const duration = seconds(process.hrtime.bigint() - start);
    display.log(
      'client',
      String(answer.status),
      `${answer.statusText}, after ${duration}`,
      { style: answer.ok ? 'green' : 'yellow' },
    );
  } catch (error) {
    signal.throwIfAborted();
    display.log('client', 'error', String(error), { style: 'red' });
  }
}
