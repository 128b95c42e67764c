/**
 * The ledger: the outside service that the application writes to. It knows nothing of locks, which makes
 * it a good witness: it sees which entries are being made to an account at the same time.
 */
import { once, type EventEmitter } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds that it takes to make an entry. */
const WORK = 100;

/** What the application sends. */
interface Order {
  readonly entry: string;
  readonly by: string;
  readonly token: string;
}

export interface Entry {
  readonly account: string;
  readonly text: string;
  /** The replica. */
  readonly by: string;
  readonly token: bigint;
  /** Milliseconds, on the clock of this process. */
  readonly begin: number;
  /** Undefined while it is being made. */
  end?: number;
  /** `stale`: refused, since a greater token was there before. */
  outcome?: 'written' | 'stale' | 'broken off';
}

export class Ledger implements AsyncDisposable {
  /** All of them, in the order of their begin. */
  readonly entries: Entry[] = [];
  private readonly greatestTokens = new Map<string, bigint>();
  private readonly stuck = new Map<string, Promise<void>>();
  private readonly server = createServer((request, response) => {
    void this.answer(request, response);
  });

  private constructor(private readonly news: EventEmitter) {}

  /** @param news emits `<account> begun` for each entry */
  static async start(news: EventEmitter): Promise<Ledger> {
    const ledger = new Ledger(news);
    ledger.server.listen(0, '127.0.0.1');
    await once(ledger.server, 'listening');
    return ledger;
  }

  get url(): string {
    const address = this.server.address();
    return typeof address === 'object' && address !== null
      ? `http://127.0.0.1:${address.port}`
      : '';
  }

  /** Makes no entry to this account until the returned function is called. */
  hold(account: string): () => void {
    let free!: () => void;
    const held = new Promise<void>((resolve) => {
      free = resolve;
    });
    this.stuck.set(account, held);
    return () => {
      this.stuck.delete(account);
      free();
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }

  private async answer(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const [, account = ''] = /^\/accounts\/([^/]+)\//.exec(request.url!) ?? [];
    const order: Order = JSON.parse(await text(request));
    const entry: Entry = {
      account,
      text: order.entry,
      by: order.by,
      token: BigInt(order.token),
      begin: performance.now(),
    };
    this.entries.push(entry);
    this.news.emit(`${account} begun`);
    response.once('close', () => this.end(entry, 'broken off'));
    await sleep(WORK);
    await this.stuck.get(account);
    const isStale = entry.token < (this.greatestTokens.get(account) ?? 0n);
    if (entry.end === undefined && !isStale) {
      this.greatestTokens.set(account, entry.token);
    }
    this.end(entry, isStale ? 'stale' : 'written');
    response.writeHead(isStale ? 409 : 201).end();
  }

  private end(entry: Entry, outcome: Entry['outcome']): void {
    if (entry.end === undefined) {
      entry.end = performance.now();
      entry.outcome = outcome;
    }
  }
}
