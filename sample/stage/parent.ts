/** A replica's side of the conversation with the process that started it. */

export type Message<Report> =
  { readonly ready: { readonly url: string } } | { readonly report: Report };

/**
 * Starts an application and tells the parent that it is ready. Ends this process when the application
 * does not start, and with its parent, however that ended.
 *
 * @param start resolves with the address at which it listens, if it does
 */
export async function startReplica(
  start: () => Promise<string | void>,
): Promise<void> {
  process.once('disconnect', () => process.exit(1));
  if (!process.connected) {
    process.exit(1);
  }
  try {
    send({ ready: { url: (await start()) ?? '' } });
  } catch (error) {
    process.stderr.write(`The application does not start. ${String(error)}\n`);
    process.exit(1);
  }
}

export function tellParent(report: unknown): void {
  send({ report });
}

function send(message: Message<unknown>): void {
  process.send?.(message);
}
