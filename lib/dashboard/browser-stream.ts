/** Sends server-sent events to one browser. One that is slow gets a fresh snapshot once it has read what it was sent. */

/** Bytes that may wait for a slow browser, besides those of its last snapshot: more would be sent again and again otherwise. */
const MOST_WAITING = 1_000_000;
/** Milliseconds within which a slow browser must have read them. */
const DRAIN_TIMEOUT = 60_000;
/** Milliseconds after which a browser has to connect again, so that the guards decide again. */
const LONGEST = 600_000;
/** Milliseconds after which it does so. */
const RETRY = 1_000;
/** Milliseconds after the end of the stream in which a browser must have read what it was sent. */
const FAREWELL = 1_000;

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
  private limit = MOST_WAITING;
  private readonly end: NodeJS.Timeout;
  private timeout?: NodeJS.Timeout;
  private farewell?: NodeJS.Timeout;

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
    });
    response.write(`retry: ${RETRY}\n\n`);
    this.end = setTimeout(() => this.close(), LONGEST).unref();
    response.once('close', () => {
      clearTimeout(this.end);
      clearTimeout(this.timeout);
      clearTimeout(this.farewell);
      onEnd();
    });
    response.on('error', () => undefined); // it closes, too
  }

  /** @param event as {@link formatEvent} makes it */
  send(event: string): void {
    if (this.isBehind || isGone(this.response)) {
      return;
    }
    if (this.response.writableLength > this.limit) {
      this.isBehind = true;
      this.timeout = setTimeout(
        () => this.response.destroy(),
        DRAIN_TIMEOUT,
      ).unref();
      this.response.once('drain', () => {
        clearTimeout(this.timeout);
        this.isBehind = false;
        this.sendSnapshot(this.snapshot());
      });
    } else {
      this.response.write(event);
    }
  }

  sendSnapshot(event: string): void {
    this.limit = MOST_WAITING + Buffer.byteLength(event);
    this.send(event);
  }

  /** A browser that does not read is not waited for: the HTTP server closes only after it. */
  close(): void {
    this.response.end();
    this.farewell = setTimeout(() => this.response.destroy(), FAREWELL).unref();
  }
}

/** Whether nothing can be written any more. Its `close` may have come already, and comes only once. */
export function isGone(response: StreamResponse): boolean {
  return response.destroyed || response.writableEnded;
}

/** JSON has no line feed, which would end an event. */
export function formatEvent(type: string, data: object): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}
