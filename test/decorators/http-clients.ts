/** HTTP clients as the tests of locked routes need them: patient ones, and one that goes away. */
import { request, type Server } from 'node:http';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { filter, firstValueFrom } from 'rxjs';
import type { LockEvent } from '../../lib/index.js';
import type { LockApp } from './lock-app.js';

/** The platforms of Nest, by name. */
export const PLATFORMS: Record<string, () => AbstractHttpAdapter> = {
  Express: () => new ExpressAdapter(),
  Fastify: () => new FastifyAdapter(),
};

/** What an answer is, as far as the tests look at it. */
export interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: unknown;
}

export async function ask(
  app: LockApp,
  path: string,
  init?: RequestInit,
): Promise<Answer> {
  const response = await app.request(path, init);
  const text = await response.text();
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    body: text.startsWith('{') ? JSON.parse(text) : text,
  };
}

/** The next event of this type, of this lock or of any. */
export function nextEvent<T extends LockEvent['type']>(
  { locks }: LockApp,
  type: T,
  name?: string,
): Promise<Extract<LockEvent, { type: T }>> {
  return firstValueFrom(
    locks.events$.pipe(
      filter(
        (event): event is Extract<LockEvent, { type: T }> =>
          event.type === type && (name === undefined || event.name === name),
      ),
    ),
  );
}

/**
 * Sends a request over a connection of its own, destroys that when `until` resolves, and resolves when
 * the server has noticed. With `body` by POST.
 */
export async function askAndLeave(
  { app }: LockApp,
  path: string,
  until: Promise<unknown>,
  body?: object,
): Promise<void> {
  const server: Server = app.getHttpServer();
  const noticed = new Promise((resolve) =>
    server.once('request', (_, response) => response.once('close', resolve)),
  );
  const client = request(new URL(path, await app.getUrl()), {
    agent: false,
    method: body ? 'POST' : 'GET',
    headers: body && { 'content-type': 'application/json' },
  });
  client.on('error', () => undefined); // its own leaving
  client.end(body && JSON.stringify(body));
  await until;
  client.destroy();
  await noticed;
}
