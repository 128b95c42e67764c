/** The code of the reader, which the examples of the pages call and do not show. */
import { Module } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { vi } from 'vitest';

export type Page = string;

interface Cancellable {
  signal?: AbortSignal;
}

export const importRows = vi.fn<(options: Cancellable) => Promise<string[]>>(
  async () => ['row 1', 'row 2'],
);
export const findPages = vi.fn<() => Promise<Page[]>>(async () => ['1', '2']);
export const importPage =
  vi.fn<(page: Page, options: Cancellable) => Promise<void>>();
export const writePage =
  vi.fn<(page: Page, token: bigint | undefined) => Promise<void>>();
export const alertSomebody = vi.fn<(message: string) => void>();
export const settleOrder =
  vi.fn<
    (id: string, options: Cancellable & { token?: bigint }) => Promise<object>
  >();
export const cancelOrder = vi.fn<(id: string) => Promise<object>>();
export const sendReminders = vi.fn<() => Promise<object>>();
export const reserveItem =
  vi.fn<(item: string, options: { token?: bigint }) => Promise<object>>();
export const bookTransfer =
  vi.fn<
    (
      from: string,
      to: string,
      options?: Cancellable & { tokens: readonly (bigint | undefined)[] },
    ) => Promise<void>
  >();
export const streamRows = vi.fn<() => Observable<{ data: string }>>();
export const findDueInvoices = vi.fn<() => Promise<string[]>>(async () => [
  'A-1',
  'A-2',
]);
export const findUnsentStatements = vi.fn<() => Promise<string[]>>(async () => [
  'S-1',
]);
export const sendStatement = vi.fn<(statement: string) => Promise<void>>();
export const sendInvoice =
  vi.fn<(invoice: string, options: Cancellable) => Promise<void>>();

/** As that of @nestjs/config, and as much of it as the example needs. */
export class ConfigService {
  get(name: string): string | undefined {
    return process.env[name];
  }

  getOrThrow(name: string): string {
    const value = this.get(name);
    if (value === undefined) {
      throw new TypeError(`Configuration key "${name}" does not exist`);
    }
    return value;
  }
}

@Module({ providers: [ConfigService], exports: [ConfigService] })
// oxlint-disable-next-line typescript/no-extraneous-class -- what a module has is in its decorator
export class ConfigModule {}

type Value = string | number | bigint;

/** One table in memory, and as much SQL as the example needs. */
export class Database {
  constructor(private readonly rows: Record<string, Value>[]) {}

  async query(sql: string, values: Value[]): Promise<{ rowCount: number }> {
    const [, assignments, conditions] =
      /^UPDATE \w+ SET (.+)\s+WHERE (.+)$/s.exec(sql) ?? [];
    if (assignments === undefined || conditions === undefined) {
      throw new Error(`not understood: ${sql}`);
    }
    const valueOf = (parameter = ''): Value =>
      values[Number(parameter.slice(1)) - 1]!;
    const found = this.rows.filter((row) =>
      conditions.split(' AND ').every((condition) => {
        const [column = '', operator, parameter] = condition.split(' ');
        return operator === '<='
          ? BigInt(row[column]!) <= BigInt(valueOf(parameter))
          : row[column] === valueOf(parameter);
      }),
    );
    for (const row of found) {
      for (const assignment of assignments.split(', ')) {
        const [column = '', parameter] = assignment.split(' = ');
        row[column] = valueOf(parameter);
      }
    }
    return { rowCount: found.length };
  }
}
