/** Keeps all that an application logs, on every level. */
import type { LoggerService } from '@nestjs/common';

export class CapturedLog implements LoggerService {
  /** Messages, and what was logged with them, as text. */
  readonly texts: string[] = [];

  log(...logged: unknown[]): void {
    this.texts.push(...logged.map(String));
  }

  error(...logged: unknown[]): void {
    this.log(...logged);
  }

  warn(...logged: unknown[]): void {
    this.log(...logged);
  }

  debug(...logged: unknown[]): void {
    this.log(...logged);
  }

  verbose(...logged: unknown[]): void {
    this.log(...logged);
  }

  fatal(...logged: unknown[]): void {
    this.log(...logged);
  }
}
