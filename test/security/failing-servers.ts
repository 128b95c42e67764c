/** Servers that fail, and give away the credentials that they were sent. */
import http from 'node:http';
import net from 'node:net';
import {
  answer,
  leaseNamed,
  portOf,
  statusObject,
  type Handler,
} from '../kube/stub-api.js';

/** Gives back what it was sent, wherever there is room for it. */
export function echo(status: number): Handler {
  return (response, { headers }) => {
    const said = headers.authorization ?? 'nothing';
    const causes = [{ reason: said, message: said, field: said }];
    const details = { name: said, kind: said, causes };
    response.statusMessage = `Wrong ${said}`;
    answer(
      response,
      status,
      { ...statusObject(status, said, details, said), [said]: said },
      {
        'www-authenticate': said,
        'x-echo': said,
        location: `https://elsewhere.invalid/${encodeURIComponent(said)}`,
        'retry-after': said,
        warning: `299 - "${said}"`,
      },
    );
  };
}

/** Creates what it is asked to; all that comes after is for `fail`. */
export function onlyCreate(fail: Handler): Handler {
  const created = new Set<string>();
  return (response, request) => {
    const { method, url, body } = request;
    if (method === 'POST' && url.pathname.endsWith('/leases')) {
      const { metadata, spec } = JSON.parse(body);
      created.add(`${url.pathname}/${metadata.name}`);
      return answer(response, 201, leaseNamed(metadata.name, 5, spec));
    }
    return method === 'GET' && !created.has(url.pathname)
      ? answer(response, 404, statusObject(404, 'NotFound', { kind: 'leases' }))
      : fail(response, request);
  };
}

/** Somebody else has the lock, and a watch says what it should not. */
export const chattyWatch: Handler = (response, { url, headers, method }) => {
  const said = headers.authorization ?? 'nothing';
  const name = /(?:metadata.name=|leases\/)([^&]*)/.exec(
    url.pathname + decodeURIComponent(url.search),
  )?.[1];
  const held = leaseNamed(name ?? 'job', 7, {
    holderIdentity: 'stranger',
    leaseDurationSeconds: 60,
  });
  if (url.searchParams.has('watch')) {
    const object = statusObject(500, said, {}, said);
    response.writeHead(200, { 'x-echo': said });
    response.end(`${JSON.stringify({ type: 'ERROR', object })}\n${said}\n`);
  } else if (url.searchParams.has('fieldSelector')) {
    answer(response, 200, {
      metadata: { resourceVersion: '7' },
      items: [held],
    });
  } else {
    answer(response, method === 'GET' ? 200 : 409, held);
  }
};

/** Answers with what it was sent. */
export async function startRefusingProxy(
  password: string,
): Promise<{ url: string; close: () => unknown }> {
  const server = http.createServer();
  server.on('connect', ({ headers }, socket) => {
    const said = headers['proxy-authorization'];
    socket.end(`HTTP/1.1 407 Not ${said}\r\nx-echo: ${said}\r\n\r\n${said}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://me:${password}@127.0.0.1:${portOf(server)}`;
  return { url, close: () => server.close() };
}

/** A port at which nobody listens. */
export async function findClosedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}
