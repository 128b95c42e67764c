/** A browser that reads slowly, or not at all: a real response, of whose socket the client does not read. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  BrowserStream,
  formatEvent,
} from '../../lib/dashboard/browser-stream.js';
import { portOf } from '../kube/stub-api.js';
import { eventually } from '../support/eventually.js';

const MEGABYTE = 1_000_000;
/** More than the buffers of the two sockets take. */
const LARGE = 32 * MEGABYTE;

const event = (type: string, bytes = 1) =>
  formatEvent(type, { text: 'x'.repeat(bytes) });

const server = createServer();
let client: Socket;
let response: ServerResponse;
let received: string[];

beforeEach(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const requested = once(server, 'request');
  client = connect(portOf(server), '127.0.0.1');
  client.setEncoding('latin1').pause();
  client.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n');
  [, response] = await requested;
  received = [];
  client.on('data', (chunk: string) => {
    received.push(...(chunk.match(/event: \w+/g) ?? []));
  });
  client.pause();
});

afterEach(async () => {
  vi.useRealTimers();
  client.destroy();
  server.close();
  await once(server, 'close');
});

function open(makeSnapshot: () => string = () => event('snapshot')) {
  const snapshot = vi.fn<() => string>(makeSnapshot);
  const onEnd = vi.fn<() => void>();
  return {
    snapshot,
    onEnd,
    stream: new BrowserStream(response, snapshot, onEnd),
  };
}

describe('a slow browser', () => {
  it('gets a large snapshot once, and then the changes', async () => {
    const { stream, snapshot } = open(() => event('snapshot', LARGE));
    stream.sendSnapshot(snapshot());
    expect(response.writableLength).toBeGreaterThan(MEGABYTE);
    stream.send(event('changes'));
    const drained = once(response, 'drain');
    client.resume();
    await drained;
    stream.send(event('last'));
    await eventually(() => {
      expect(received.at(-1)).toBe('event: last');
    });
    expect(received).toEqual([
      'event: snapshot',
      'event: changes',
      'event: last',
    ]);
    expect(snapshot).toHaveBeenCalledTimes(1);
  });

  it('is not kept more than a megabyte of changes: it gets a fresh snapshot', async () => {
    const { stream, snapshot } = open();
    const change = event('changes', MEGABYTE / 2);
    for (let sent = 0; sent < LARGE; sent += change.length) {
      stream.send(change);
    }
    expect(response.writableLength).toBeLessThan(2 * MEGABYTE + change.length);
    expect(snapshot).not.toHaveBeenCalled();
    client.resume();
    await eventually(() => {
      expect(received.at(-1)).toBe('event: snapshot');
    });
    expect(snapshot).toHaveBeenCalledTimes(1);
  });

  it('has a minute to read, then it has to connect again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { stream, onEnd } = open();
    stream.send(event('changes', LARGE));
    stream.send(event('changes'));
    vi.advanceTimersByTime(59_000);
    expect(response.destroyed).toBe(false);
    const closed = once(response, 'close');
    vi.advanceTimersByTime(1_000);
    await closed;
    expect(onEnd).toHaveBeenCalledTimes(1);
  });

  it('is waited for a second when the application closes', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { stream, onEnd } = open();
    stream.send(event('changes', LARGE));
    stream.close();
    expect(response.destroyed).toBe(false);
    const closed = once(response, 'close');
    vi.advanceTimersByTime(1_000);
    await closed;
    expect(onEnd).toHaveBeenCalledTimes(1);
  });
});
