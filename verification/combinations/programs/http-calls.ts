/** Calls an application over HTTP, and tells which routes it has. */
import type { INestApplication, Type } from '@nestjs/common';
import type { Outcome, CombinationRun } from './combination-run.js';

export interface HttpCall extends RequestInit {
  readonly path: string;
}

/** Starts an application with this controller, whose method `run` is under test, and calls it. */
export async function serve(
  run: CombinationRun,
  controller: Type,
  ...calls: readonly HttpCall[]
): Promise<Outcome> {
  const app = await run.start({ controllers: [controller] });
  return {
    ...(await request(app, ...calls)),
    method: [controller, 'run'],
    registration: routesOf(app),
  };
}

/** The answers to these, one after the other. */
export async function request(
  app: INestApplication,
  ...calls: readonly HttpCall[]
): Promise<{ status: number[]; body: unknown[] }> {
  const url = await app.getUrl();
  const status: number[] = [];
  const body: unknown[] = [];
  for (const { path, ...init } of calls) {
    const response = await fetch(new URL(path, url), init);
    const { date: _, ...headers } = Object.fromEntries(response.headers);
    status.push(response.status);
    body.push({ headers, text: await response.text() });
  }
  return { status, body };
}

export function get(
  path: string,
  headers: Record<string, string> = {},
): HttpCall {
  return { path, headers };
}

export function post(path: string, content: unknown): HttpCall {
  return {
    path,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(content),
  };
}

interface Layer {
  readonly route?: { path: string; methods: Record<string, boolean> };
}

/** The routes that Express knows. */
export function routesOf(app: INestApplication): unknown[] {
  const { stack }: { stack: Layer[] } = app
    .getHttpAdapter()
    .getInstance().router;
  return stack.flatMap(({ route }) =>
    route ? [{ path: route.path, methods: route.methods }] : [],
  );
}
