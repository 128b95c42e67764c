/** The span of one call for a lock: from the call to the release, active while the work runs. */
import type { Span, Tracer } from '@opentelemetry/api';
import { isError, LockError, type LockReference } from '../lock.errors.js';
import { printable } from '../printable.js';
import type { CallEnd } from '../lock/acquire/outcome.js';
import { ATTRIBUTE, outcomeOf, SPAN_EVENT } from './telemetry-names.js';

/** The type of the OpenTelemetry API, which is loaded lazily. */
export type OpenTelemetry = typeof import('@opentelemetry/api');

/** The outcomes that are errors; a taken lock or a cancelled call is not an error. */
const ERRORS: readonly CallEnd[] = ['timeout', 'failed'];

export class LockSpan {
  private readonly span: Span;
  private hasFailed = false;

  /** @param label the lock's label in the name of the span, of low cardinality */
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

  /** Runs `call` with this span as the active one. */
  activate<T>(call: () => T): T {
    const { context, trace } = this.api;
    return context.with(trace.setSpan(context.active(), this.span), call);
  }

  /** Runs `work` as {@link activate} does, and records its failure. */
  run<T>(work: () => T): T {
    try {
      const result = this.activate(work);
      if (result instanceof Promise) {
        // The caller gets the rejection, too.
        result.catch((error: unknown) => this.failed(error));
      }
      return result;
    } catch (error) {
      this.failed(error);
      throw error;
    }
  }

  /** @param waited milliseconds */
  acquired({ leaseName }: LockReference, waited: number): void {
    this.span.addEvent(SPAN_EVENT.acquired, {
      [ATTRIBUTE.waited]: waited / 1_000,
    });
    this.span.setAttribute(ATTRIBUTE.outcome, outcomeOf('acquired'));
    this.span.setAttribute(ATTRIBUTE.leaseName, leaseName);
  }

  /** The call ended without the lock. */
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

  /** Records a failure of the work. The message of an error of this package is left out: it may name a holder. */
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
