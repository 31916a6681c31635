import type { WASocket } from "@whiskeysockets/baileys";
import { endSocket, isThere } from "./socket.ts";

/**
 * The connection that a session has now, for those who send over it.
 *
 * closed ─ connecting(sock) ─▶ closed ─ opened() ─▶ open ─ closed() ─▶ closed … ─ giveUp() ─▶ over
 */
export class Line {
  readonly #isMine: () => boolean;
  #socket: WASocket | undefined;
  #isOpen = false;
  /** Resolves while it is open. */
  #opening = opening();
  /** What needs the connection that there is now. */
  readonly #ongoing = new Set<(reason: Error) => void>();
  #doubt: Promise<boolean> | undefined;

  /** @param isMine whether the session is still this process' for certain. */
  constructor(isMine: () => boolean) {
    this.#isMine = isMine;
  }

  /** The socket if it is open now, and this process' for certain. */
  get socket(): WASocket | undefined {
    return this.#isOpen && this.#isMine() ? this.#socket : undefined;
  }

  /** The socket there is, open or on its way. */
  get current(): WASocket | undefined {
    return this.#socket;
  }

  connecting(sock: WASocket): void {
    this.#socket = sock;
  }

  opened(sock: WASocket): void {
    this.#isOpen = true;
    this.#opening.resolve(sock);
  }

  closed(): void {
    if (this.#isOpen) this.#opening = opening();
    this.#isOpen = false;
    this.#socket = undefined;
    for (const stop of this.#ongoing) stop(new Error("The connection to WhatsApp has ended."));
    this.#ongoing.clear();
  }

  /** Nobody has to wait for it any more. */
  giveUp(): void {
    this.#opening.reject(new Error("The session is not connected here any more."));
  }

  /** The socket, once it is open; rejects by the signal, or when the session is over. */
  async whenOpen(signal: AbortSignal): Promise<WASocket> {
    if (this.socket) return this.socket;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([this.#opening.promise, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /**
   * Settles as `work` does, or rejects as soon as the connection ends or `signal` aborts; the work's own signal tells it.
   * Baileys would leave it waiting for a minute for what can never be answered.
   */
  async whileOpen<T>(work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const controller = new AbortController();
    const { promise: cut, reject } = Promise.withResolvers<never>();
    const stop = (reason: unknown): void => {
      controller.abort(reason);
      reject(reason);
    };
    const onAbort = (): void => stop(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#ongoing.add(stop);
    try {
      return await Promise.race([work(controller.signal), cut]);
    } finally {
      this.#ongoing.delete(stop);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /**
   * Something that WhatsApp's server answers was not answered: asks whether it is there at all, and ends the connection
   * when it is not. Baileys would notice within a minute, and every message until then be in doubt. Answers whether it is.
   */
  doubt(sock: WASocket): Promise<boolean> {
    if (sock !== this.#socket) return Promise.resolve(false);
    this.#doubt ??= isThere(sock)
      .then(async (there) => {
        if (!there && sock === this.#socket) await endSocket(sock, "WhatsApp's server does not answer any more");
        return there;
      })
      .finally(() => (this.#doubt = undefined));
    return this.#doubt;
  }
}

function opening(): PromiseWithResolvers<WASocket> {
  const resolvers = Promise.withResolvers<WASocket>();
  // Nobody may be waiting for it when it is given up.
  resolvers.promise.catch(() => {});
  return resolvers;
}
