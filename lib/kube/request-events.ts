/** Tells how each request to the API server went, if anybody wants to know; else it costs one look. */
import type { IncomingMessage } from 'node:http';
import type { ApiRequestEvent } from '../lock.events.js';
import { ExchangeError, type Answer } from './http-request.js';
import type { Operation } from './api-errors.js';

/** Whom to tell. */
export interface RequestSink {
  readonly isObserved: boolean;
  /** Never throws. */
  emit(event: ApiRequestEvent): void;
}

/** Calls `send` and passes on what comes of it. */
export function reportRequest<T extends Answer | IncomingMessage>(
  sink: RequestSink | undefined,
  operation: Operation,
  send: () => Promise<T>,
): Promise<T> {
  return sink?.isObserved ? measure(sink, operation, send) : send();
}

async function measure<T extends Answer | IncomingMessage>(
  sink: RequestSink,
  { verb, namespace }: Operation,
  send: () => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  const tell = (end: Pick<ApiRequestEvent, 'status' | 'failure'>) => {
    const duration = performance.now() - startedAt;
    sink.emit({ verb, namespace, duration, ...end });
  };
  try {
    const answer = await send();
    tell({ status: 'status' in answer ? answer.status : answer.statusCode });
    return answer;
  } catch (error) {
    if (error instanceof ExchangeError) {
      tell({ failure: error.fault });
    }
    throw error;
  }
}
