/** The routes of the dashboard: the page and its files, the stream of events, and the forced release. */
import {
  Controller,
  Get,
  HttpStatus,
  Inject,
  Post,
  Req,
  Res,
  UseGuards,
  VERSION_NEUTRAL,
  type Type,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { LockError } from '../lock.errors.js';
import { printable } from '../printable.js';
import type { StreamResponse } from './browser-stream.js';
import type { ResolvedRoutes, ResolvedView } from './dashboard.options.js';
import { LockFeed } from './lock-feed.js';
import { HTML } from './page/html.js';
import { ICON } from './page/icon.js';
import { SCRIPT } from './page/script.js';
import { STYLE } from './page/style.js';

export const VIEW = Symbol('K8S_LOCK_DASHBOARD_VIEW');

/** The header that the page adds to a POST. A page of another origin can't, unless CORS lets it. */
const HEADER = 'x-k8s-lock-dashboard';

const SECURITY_HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Cache-Control': 'no-store',
};

/** The used part of a request of Express or Fastify. */
interface Request {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body?: unknown;
  readonly ip?: string;
}

/** The used part of Fastify's reply. */
interface Reply {
  readonly raw: StreamResponse;
  hijack(): void;
}

/** A class for these routes, since guards and path belong to the class. */
export function makeController({ path, guards }: ResolvedRoutes): Type {
  const last = path.split('/').findLast((part) => part !== '')!;

  @Controller({ path, version: VERSION_NEUTRAL })
  @UseGuards(...guards)
  class K8sLockDashboardController {
    constructor(
      @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
      @Inject(LockFeed) private readonly feed: LockFeed,
      @Inject(VIEW) private readonly view: ResolvedView,
    ) {}

    /** Relative, for the path outside a reverse proxy is not known here. */
    @Get()
    enter(@Req() { url }: { url: string }, @Res() response: object): void {
      const isFolder = new URL(url, 'http://localhost').pathname.endsWith('/');
      this.header(response, 'Cache-Control', 'no-store');
      this.header(response, 'Location', isFolder ? 'view' : `${last}/view`);
      this.reply(response, '', HttpStatus.FOUND);
    }

    @Get('view')
    page(@Res() response: object): void {
      this.serve(response, 'text/html', HTML);
    }

    @Get('view.css')
    style(@Res() response: object): void {
      this.serve(response, 'text/css', STYLE);
    }

    @Get('view.js')
    script(@Res() response: object): void {
      this.serve(response, 'text/javascript', SCRIPT);
    }

    @Get('icon.svg')
    icon(@Res() response: object): void {
      this.serve(response, 'image/svg+xml', ICON);
    }

    @Get('events')
    events(
      @Req() { method }: { method: string },
      @Res() response: StreamResponse | Reply,
    ): void {
      if (method === 'HEAD') {
        this.header(response, 'Content-Type', 'text/event-stream');
        this.reply(response, '', HttpStatus.OK);
      } else if (!this.feed.mayConnect) {
        this.reply(response, '', HttpStatus.SERVICE_UNAVAILABLE);
      } else if ('hijack' in response) {
        response.hijack();
        this.feed.connect(response.raw);
      } else {
        this.feed.connect(response);
      }
    }

    @Post('force-release')
    async forceRelease(
      @Req() request: Request,
      @Res() response: object,
    ): Promise<void> {
      const answer = (status: number, message: string): void => {
        this.header(response, 'Content-Type', 'application/json');
        this.header(response, 'Cache-Control', 'no-store');
        this.reply(response, JSON.stringify({ message }), status);
      };
      if (!this.view.allowForceRelease) {
        return answer(403, 'Force release is not allowed here.');
      }
      if (!isFromPage(request.headers)) {
        return answer(403, 'The request does not come from the dashboard.');
      }
      const body: object = Object(request.body);
      const id: unknown = Reflect.get(body, 'id');
      const key: unknown = Reflect.get(body, 'key');
      if (typeof id !== 'string' || typeof key !== 'string') {
        return answer(400, 'id and key must be strings.');
      }
      try {
        const by = printable(request.ip ?? 'an unknown address');
        const { outcome } = await this.feed.evict(id, key, by);
        switch (outcome) {
          case 'evicted':
            return answer(200, 'The lock was released.');
          case 'changed':
            return answer(409, 'Another holds the lock by now, or nobody.');
          case 'unknown':
            return answer(404, 'There is no such lock.');
        }
      } catch (error) {
        if (!(error instanceof LockError)) {
          throw error;
        }
        return answer(error.getStatus(), error.explanation);
      }
    }

    private serve(response: object, type: string, body: string): void {
      for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
        this.header(response, name, value);
      }
      this.header(response, 'Content-Type', `${type}; charset=utf-8`);
      this.reply(response, body, HttpStatus.OK);
    }

    private header(response: object, name: string, value: string): void {
      this.host.httpAdapter.setHeader(response, name, value);
    }

    private reply(response: object, body: string, status: number): void {
      this.host.httpAdapter.reply(response, body, status);
    }
  }
  return K8sLockDashboardController;
}

/**
 * Whether a POST comes from a page of the same origin. Browsers say so in Sec-Fetch-Site, which no page can set, but only to
 * secure and local origins; otherwise in Origin.
 */
function isFromPage(headers: Request['headers']): boolean {
  const { origin, host, 'sec-fetch-site': site } = headers;
  if (headers[HEADER] !== '1') {
    return false;
  }
  if (site !== undefined) {
    return site === 'same-origin';
  }
  return (
    typeof origin === 'string' &&
    URL.canParse(origin) &&
    new URL(origin).host === host
  );
}
