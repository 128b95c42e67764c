/** A register that no holder of an old lock can write: it refuses tokens smaller than it has seen. */
export class FencedRegister {
  readonly accepted: bigint[] = [];
  readonly refused: bigint[] = [];
  private greatest = 0n;

  write(token: bigint): void {
    if (token < this.greatest) {
      this.refused.push(token);
    } else {
      this.greatest = token;
      this.accepted.push(token);
    }
  }
}
