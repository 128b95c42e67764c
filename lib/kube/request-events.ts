/** Emits an event for each request to the API server if there is a listener. */
import type { IncomingMessage } from 'node:http';
import type { ApiRequestEvent } from '../lock.events.js';
import { ExchangeError, type Answer } from './http-request.js';
import type { Operation } from './api-errors.js';

/** Receives the events. */
export interface RequestSink {
  readonly isObserved: boolean;
  /** Never throws. */
  emit(event: ApiRequestEvent): void;
}

/** Calls `send`, reports how the request ended, and returns or throws the result of `send`. */
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
