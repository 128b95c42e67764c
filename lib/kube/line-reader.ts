/** Reads the body of a watch line by line until it ends, breaks or times out. */
import type { IncomingMessage } from 'node:http';

export interface WatchStreamOptions {
  /** Milliseconds without a byte after which the connection counts as dead. */
  readonly silence: number;
  readonly maxLineBytes: number;
  /** Called for each line. If it throws, the stream ends as `broken`. */
  readonly onLine: (line: string) => void;
}

/** `ended`: the server ended the stream. `broken`: anything else. */
export type WatchStreamEnd = 'ended' | 'broken';

const LINE_FEED = 0x0a;

/**
 * Reads until the stream ends or the response is destroyed. Never rejects: the watch restarts after
 * any end.
 */
export function readWatchStream(
  response: IncomingMessage,
  { silence, maxLineBytes, onLine }: WatchStreamOptions,
): Promise<WatchStreamEnd> {
  return new Promise((resolve) => {
    // Bytes, not text: a character may be split across chunks, a line feed never is.
    let begun: Buffer[] = [];
    let begunBytes = 0;

    const finish = (end: WatchStreamEnd) => {
      clearTimeout(timer);
      resolve(end);
      if (end === 'broken') {
        response.destroy();
      }
    };
    const timer = setTimeout(() => finish('broken'), silence);
    timer.unref();

    const readChunk = (chunk: Buffer) => {
      let start = 0;
      for (;;) {
        const end = chunk.indexOf(LINE_FEED, start);
        const part = chunk.subarray(start, end === -1 ? undefined : end);
        begun.push(part);
        begunBytes += part.length;
        if (begunBytes > maxLineBytes) {
          return finish('broken');
        }
        if (end === -1) {
          return;
        }
        const line = Buffer.concat(begun, begunBytes).toString('utf8');
        begun = [];
        begunBytes = 0;
        start = end + 1;
        if (line.trim() !== '') {
          onLine(line);
        }
        // The handler of the line may have closed the watch.
        if (response.destroyed) {
          return;
        }
      }
    };

    response.on('data', (chunk: Buffer) => {
      timer.refresh();
      try {
        readChunk(chunk);
      } catch {
        finish('broken');
      }
    });
    // The server stopped in the middle of a line: the change is read again by the next list.
    response.on('end', () => finish(begunBytes > 0 ? 'broken' : 'ended'));
    response.on('error', () => finish('broken'));
    response.on('close', () => finish('broken'));
  });
}
