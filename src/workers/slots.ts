interface Waiting {
  begin(): void;
  refuse(reason: Error): void;
}

/** Messages of a queue that may be under way at once in this process; whoever comes first has the next. */
export class Slots {
  #free: number;
  #closed: Error | undefined;
  #waiting: Waiting[] = [];
  readonly #onWaiting: (waiting: number) => void;

  /** `onWaiting`: told how many wait each time that it changes. */
  constructor(count: number, onWaiting: (waiting: number) => void = () => {}) {
    this.#free = count;
    this.#onWaiting = onWaiting;
  }

  /** How many wait for one. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs `work` in a slot of its own; rejects with the reason of `close` for what has not begun by then. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#take();
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) {
        this.#onWaiting(this.#waiting.length);
        next.begin();
      } else this.#free += 1;
    }
  }

  /** From now on nothing begins. */
  close(reason: Error): void {
    this.#closed ??= reason;
    for (const { refuse } of this.#waiting.splice(0)) refuse(this.#closed);
  }

  async #take(): Promise<void> {
    if (this.#closed) throw this.#closed;
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((begin, refuse) => {
      this.#waiting.push({ begin, refuse });
      this.#onWaiting(this.#waiting.length);
    });
  }
}
