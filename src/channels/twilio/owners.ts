/** Of messages or calls, those that are remembered at least; up to twice as many. */
const REMEMBERED = 5_000;

/** Which attempt a message or call is known to come from: two generations, the older is forgotten whole. */
export class Owners {
  #young = new Map<string, string>();
  #old = new Map<string, string>();

  remember(sid: string, attemptId: string): void {
    if (this.#young.size >= REMEMBERED) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(sid, attemptId);
  }

  of(sid: string): string | undefined {
    return this.#young.get(sid) ?? this.#old.get(sid);
  }
}
