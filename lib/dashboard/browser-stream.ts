/** Sends server-sent events to one browser. One that is slow gets a fresh snapshot once it has read what it was sent. */

/** Bytes that may wait for a slow browser. */
const MOST_WAITING = 1_000_000;
/** Milliseconds within which a slow browser must have read them. */
const PATIENCE = 60_000;
/** Milliseconds after which a browser has to connect again, so that the guards decide again. */
const LONGEST = 600_000;
/** Milliseconds after which it does so. */
const RETRY = 1_000;

/** The used part of Node's ServerResponse. */
export interface StreamResponse {
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  readonly writableLength: number;
  writeHead(status: number, headers: Record<string, string>): unknown;
  write(text: string): unknown;
  end(): unknown;
  destroy(): unknown;
  once(event: 'close' | 'drain', listener: () => void): unknown;
  on(event: 'error', listener: () => void): unknown;
}

export class BrowserStream {
  private isBehind = false;
  private readonly end: NodeJS.Timeout;
  private patience?: NodeJS.Timeout;

  /**
   * @param snapshot makes the event with all that is shown
   * @param onEnd is called once, when the browser has gone
   */
  constructor(
    private readonly response: StreamResponse,
    private readonly snapshot: () => string,
    onEnd: () => void,
  ) {
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      // no-transform: a compressing proxy would keep events back.
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      connection: 'keep-alive',
    });
    response.write(`retry: ${RETRY}\n\n`);
    this.end = setTimeout(() => this.close(), LONGEST).unref();
    response.once('close', () => {
      clearTimeout(this.end);
      clearTimeout(this.patience);
      onEnd();
    });
    response.on('error', () => undefined); // it closes, too
  }

  /** @param event as {@link formatEvent} makes it */
  send(event: string): void {
    if (
      this.isBehind ||
      this.response.destroyed ||
      this.response.writableEnded
    ) {
      return;
    }
    this.response.write(event);
    if (this.response.writableLength > MOST_WAITING) {
      this.isBehind = true;
      this.patience = setTimeout(
        () => this.response.destroy(),
        PATIENCE,
      ).unref();
      this.response.once('drain', () => {
        clearTimeout(this.patience);
        this.isBehind = false;
        this.send(this.snapshot());
      });
    }
  }

  close(): void {
    this.response.end();
  }
}

/** JSON has no line feed, which would end an event. */
export function formatEvent(type: string, data: object): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}
