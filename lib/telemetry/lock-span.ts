/** The span of one call for a lock: from the question to the release, and active while the work runs. */
import type { Span, Tracer } from '@opentelemetry/api';
import {
  isError,
  LockError,
  printable,
  type LockReference,
} from '../lock.errors.js';
import type { CallEnd } from '../lock/acquire/outcome.js';
import { ATTRIBUTE, outcomeOf, SPAN_EVENT } from './telemetry-names.js';

/** The API, which is loaded only when it is needed. */
export type OpenTelemetry = typeof import('@opentelemetry/api');

/** That a lock is taken, or that a caller changed its mind, is no error. */
const ERRORS: readonly CallEnd[] = ['timeout', 'failed'];

export class LockSpan {
  private readonly span: Span;
  private hasFailed = false;

  /** @param label what the lock is called in the span's name, which must not be different each time */
  constructor(
    private readonly api: OpenTelemetry,
    tracer: Tracer,
    { name, namespace, leaseName }: LockReference,
    label: string | undefined,
  ) {
    this.span = tracer.startSpan(
      label === undefined ? 'lock' : `lock ${label}`,
      {
        kind: api.SpanKind.INTERNAL,
        attributes: {
          [ATTRIBUTE.lockName]: printable(name),
          [ATTRIBUTE.leaseName]: leaseName,
          [ATTRIBUTE.namespace]: namespace,
        },
      },
    );
  }

  /** Calls it with this span as the active one. */
  activate<T>(call: () => T): T {
    const { context, trace } = this.api;
    return context.with(trace.setSpan(context.active(), this.span), call);
  }

  /** As {@link activate}, and notes when the work fails. */
  run<T>(work: () => T): T {
    try {
      const result = this.activate(work);
      if (result instanceof Promise) {
        // Whoever awaits the result hears of it, too.
        result.catch((error: unknown) => this.failed(error));
      }
      return result;
    } catch (error) {
      this.failed(error);
      throw error;
    }
  }

  /** @param waited milliseconds */
  acquired(waited: number): void {
    this.span.addEvent(SPAN_EVENT.acquired, {
      [ATTRIBUTE.waited]: waited / 1_000,
    });
    this.span.setAttribute(ATTRIBUTE.outcome, outcomeOf('acquired'));
  }

  /** It ended without the lock. */
  notAcquired(end: CallEnd): void {
    this.span.setAttribute(ATTRIBUTE.outcome, outcomeOf(end));
    if (ERRORS.includes(end)) {
      this.setError(end);
    }
    this.end();
  }

  lost(reason: string): void {
    this.span.addEvent(SPAN_EVENT.lost, { [ATTRIBUTE.errorType]: reason });
    this.setError('lock_lost');
  }

  /** The work failed. Of an error of this package the message is left out: it may name a holder. */
  failed(error: unknown): void {
    if (this.hasFailed) {
      return;
    }
    this.hasFailed = true;
    const isOwn = error instanceof LockError;
    if (isError(error) && !isOwn) {
      this.span.recordException(error);
    }
    this.setError(
      isError(error) ? error.name : typeof error,
      isError(error) && !isOwn ? error.message : undefined,
    );
  }

  end(): void {
    this.span.end();
  }

  private setError(type: string, message?: string): void {
    this.span.setAttribute(ATTRIBUTE.errorType, type);
    this.span.setStatus({ code: this.api.SpanStatusCode.ERROR, message });
  }
}
