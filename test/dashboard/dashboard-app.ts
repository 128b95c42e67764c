/** An application with the dashboard, and a browser's part of its stream. */
import type {
  CanActivate,
  DynamicModule,
  ExecutionContext,
} from '@nestjs/common';
import {
  K8sLockDashboardModule,
  type K8sLockDashboardOptions,
} from '../../lib/dashboard/index.js';
import {
  startLockApp,
  type LockApp,
  type LockAppOptions,
} from '../decorators/lock-app.js';

/** Lets in who carries the word. */
export class WordGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest();
    return headers['x-word'] === 'sesame';
  }
}

export function startDashboard(
  options: K8sLockDashboardOptions | DynamicModule = { public: true },
  app: LockAppOptions & Partial<Parameters<typeof startLockApp>[0]> = {},
): Promise<LockApp> {
  const { imports = [], controllers, providers, ...rest } = app;
  const dashboard =
    'module' in options ? options : K8sLockDashboardModule.forRoot(options);
  return startLockApp(
    { imports: [...imports, dashboard], controllers, providers },
    rest,
  );
}

export interface StreamEvent {
  readonly type: string;
  readonly data: any;
}

/** Reads the events of one browser. */
export class Stream implements AsyncDisposable {
  private readonly abort = new AbortController();
  private readonly events: StreamEvent[] = [];
  private readonly waiting = new Set<() => void>();
  /** Whether the server has ended it. */
  ended = false;

  private constructor(readonly response: Response) {
    void this.read();
  }

  static async open(
    app: LockApp,
    path = 'locks/events',
    headers: Record<string, string> = {},
  ): Promise<Stream> {
    const abort = new AbortController();
    const response = await app.request(path, { headers, signal: abort.signal });
    const stream = new Stream(response);
    stream.abort.signal.addEventListener('abort', () => abort.abort());
    return stream;
  }

  /** The first event that matches, past or coming; it is not found again. */
  next(
    type: string,
    matches: (data: any) => boolean = () => true,
  ): Promise<any> {
    return new Promise((resolve) => {
      const check = (): void => {
        const index = this.events.findIndex(
          (event) => event.type === type && matches(event.data),
        );
        if (index !== -1) {
          this.waiting.delete(check);
          resolve(this.events.splice(index, 1)[0]!.data);
        }
      };
      this.waiting.add(check);
      check();
    });
  }

  /** The view of a lock, as soon as it is so. */
  async lock(
    id: string,
    matches: (view: any) => boolean = () => true,
  ): Promise<any> {
    const data = await this.next('changes', ({ changes }) =>
      changes.some((view: any) => view.id === id && matches(view)),
    );
    return data.changes.find((view: any) => view.id === id && matches(view));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abort.abort();
  }

  private async read(): Promise<void> {
    let text = '';
    try {
      const decoder = new TextDecoder();
      for await (const chunk of this.response.body!) {
        text += decoder.decode(chunk, { stream: true });
        const parts = text.split('\n\n');
        text = parts.pop()!;
        for (const part of parts) {
          const [, type = '', data = ''] =
            /^event: (.*)\ndata: (.*)$/.exec(part) ?? [];
          if (type !== '') {
            this.events.push({ type, data: JSON.parse(data) });
          }
        }
        this.waiting.forEach((check) => check());
      }
    } catch {
      // its own leaving
    }
    this.ended = true;
    this.waiting.forEach((check) => check());
  }
}
