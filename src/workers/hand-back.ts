/**
 * Tells running jobs that the service must stop now. In place of an AbortSignal, whose listeners are a list that every
 * subscription walks: with hundreds of jobs that subscribe several times each, that walk is a cost.
 */
export class HandBack {
  #reason: Error | undefined;
  readonly #listeners = new Set<(reason: Error) => void>();

  get reason(): Error | undefined {
    return this.#reason;
  }

  abort(reason: Error): void {
    this.#reason ??= reason;
    for (const listener of this.#listeners) listener(reason);
    this.#listeners.clear();
  }

  /** Settles as `work` does, or rejects when the order comes first; the work then goes on unwatched. */
  orAbort<T>(work: Promise<T>, onAbort?: (reason: Error) => void): Promise<T> {
    if (this.#reason) {
      onAbort?.(this.#reason);
      work.catch(() => {});
      return Promise.reject(this.#reason);
    }
    return new Promise((resolve, reject) => {
      const listener = (reason: Error): void => {
        onAbort?.(reason);
        reject(reason);
      };
      this.#listeners.add(listener);
      work.then(
        (value) => {
          this.#listeners.delete(listener);
          resolve(value);
        },
        (error: unknown) => {
          this.#listeners.delete(listener);
          reject(error);
        },
      );
    });
  }
}
