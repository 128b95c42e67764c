/** Spreads a burst of calls over turns of the event loop, so that renewals run between them. */

/** The number of calls that begin in one turn of the event loop. */
const MOST_CALLS = 16;

export class CallTurns {
  private left = MOST_CALLS;
  private readonly waiting = new Set<() => void>();
  private isAwaitingTurn = false;

  /** Resolves when the call may begin; calls begin in order. */
  async begin(): Promise<void> {
    this.awaitTurn();
    if (this.left > 0) {
      this.left -= 1;
      return;
    }
    await new Promise<void>((resolve) => {
      this.waiting.add(resolve);
    });
  }

  private awaitTurn(): void {
    if (!this.isAwaitingTurn) {
      this.isAwaitingTurn = true;
      setImmediate(() => this.nextTurn());
    }
  }

  private nextTurn(): void {
    this.isAwaitingTurn = false;
    this.left = MOST_CALLS;
    for (const begin of this.waiting) {
      if (this.left === 0) {
        break;
      }
      this.left -= 1;
      this.waiting.delete(begin);
      begin();
    }
    if (this.left < MOST_CALLS) {
      this.awaitTurn();
    }
  }
}
