import type { LookupAddress } from "node:dns";
import { lookup as resolveName } from "node:dns/promises";
import * as http from "node:http";
import * as https from "node:https";
import type { LookupFunction } from "node:net";
import { callbackify } from "node:util";
import { permitted, portOf, PRIVATE, type FetchPolicy } from "./addresses.ts";

export type GuardedFetchCode =
  | "bad_url"
  | "not_allowed"
  | "unreachable"
  | "timeout"
  | "http_status"
  | "too_many_redirects"
  | "wrong_type"
  | "too_big";

/**
 * Why a request was refused or failed. The message may be shown to the caller: it names at most the host that the
 * caller gave, never the rest of the URL (paths and queries hold tokens), a redirect's target, or what a name resolved to.
 */
export class GuardedFetchError extends Error {
  override readonly name = "GuardedFetchError";
  readonly code: GuardedFetchCode;
  /** The server's status, for `http_status`. */
  readonly status: number | undefined;
  /** Whether the same request may succeed later: timeouts, unreachable servers and the statuses 408, 429 and 5xx. */
  readonly transient: boolean;

  constructor(code: GuardedFetchCode, message: string, { status, cause }: { status?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.code = code;
    this.status = status;
    this.transient =
      code === "timeout" || code === "unreachable" || (status !== undefined && (status >= 500 || LATER.has(status)));
  }
}

export interface FetchTimeouts {
  /** Name, connection and TLS of one hop together. Default: 10 s. */
  connectMs?: number | undefined;
  /** Without a byte from the server while one is awaited. Time that the reader of the body takes does not count. Default: 15 s. */
  idleMs?: number | undefined;
  /** From the call to the last byte of the body, redirects and the reader's own time included. Default: 60 s. */
  totalMs?: number | undefined;
}

/** One request, and how its messages name it: only the first hop's host is the caller's own. */
export interface Hop {
  target: URL;
  policy: FetchPolicy;
  watch: Watch;
  subject: string;
  server: string;
}

const LATER = new Set([408, 429]);
export const MAX_QUOTED = 100;
/** After this long the next address of a name is tried. Node's 250 ms give up on servers that are merely far away. */
const NEXT_ADDRESS_MS = 1_000;

/** Resolves with the head of the answer. The connection is the request's own: one kept open would skip the check. */
export function request(
  hop: Hop,
  what: { method?: "POST"; headers: Record<string, string>; body?: string },
): Promise<http.IncomingMessage> {
  const { target, watch, server } = hop;
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const secure = target.protocol === "https:";
  // An empty `proxyEnv` is more than a missing one, for which Node may fall back to the environment's proxies.
  const agentOptions = {
    keepAlive: false,
    proxyEnv: {},
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
  };
  const outgoing = (secure ? https : http).request(target, {
    method: what.method ?? "GET",
    agent: secure ? new https.Agent(agentOptions) : new http.Agent(agentOptions),
    headers: what.headers,
    lookup: checkedLookup(hop),
    rejectUnauthorized: true,
    signal: watch.signal,
  });
  watch.expect(watch.connectMs, `${server} could not be connected to in time.`);
  outgoing.once("socket", (socket) => {
    socket.once(secure ? "secureConnect" : "connect", () => watch.expect(watch.idleMs, `${server} does not answer.`));
  });
  outgoing.once("response", (response) => {
    watch.rest();
    resolve(response);
  });
  outgoing.on("error", (cause) => reject(watch.signal.aborted ? watch.signal.reason : failure(cause, hop)));
  // An answer that switches protocols is dropped by Node, not always with an error.
  outgoing.once("close", () => reject(failure(undefined, hop)));
  outgoing.end(what.body);
  return promise;
}

/** Answers with the addresses of a name when each of them may be contacted. Not called for a URL with an address in it. */
function checkedLookup({ target, policy, subject, server }: Hop): LookupFunction {
  const ask = policy.lookup ?? ((hostname: string) => resolveName(hostname, { all: true }));
  const find = callbackify(async (hostname: string): Promise<LookupAddress[]> => {
    const addresses = await ask(hostname);
    if (addresses.length === 0) throw new GuardedFetchError("unreachable", `${server} has no address.`);
    if (!addresses.every(({ address }) => permitted(address, portOf(target), policy))) {
      throw new GuardedFetchError("not_allowed", `${subject} ${PRIVATE}.`);
    }
    return [...addresses];
  });
  return (hostname, _options, callback) => find(hostname, callback);
}

export function failure(cause: unknown, { server }: Hop): GuardedFetchError {
  if (cause instanceof GuardedFetchError) return cause;
  return new GuardedFetchError("unreachable", `${server} cannot be reached, or broke off.`, { cause });
}

/** Watches over one exchange until it is ended (deadline, stall, the caller's signal) or released; both are for good. */
export class Watch {
  readonly connectMs: number;
  readonly idleMs: number;
  readonly #ending = new AbortController();
  readonly #deadline: NodeJS.Timeout;
  readonly #given: AbortSignal | undefined;
  readonly #abort = (): void => this.#end(this.#given?.reason);
  #stall: NodeJS.Timeout | undefined;

  constructor(
    what: string,
    { connectMs = 10_000, idleMs = 15_000, totalMs = 60_000 }: FetchTimeouts,
    given?: AbortSignal,
  ) {
    this.connectMs = connectMs;
    this.idleMs = idleMs;
    const message = `${what} was not complete after ${totalMs / 1_000} seconds.`;
    this.#deadline = setTimeout(() => this.#end(new GuardedFetchError("timeout", message)), totalMs);
    this.#given = given;
    given?.addEventListener("abort", this.#abort, { once: true });
  }

  /** Aborted when the exchange is ended, with the error as its reason. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** Ends the exchange unless something else is expected, or nothing, within this time. */
  expect(withinMs: number, message: string): void {
    this.rest();
    this.#stall = setTimeout(() => this.#end(new GuardedFetchError("timeout", message)), withinMs);
  }

  /** Nothing is expected from the server for now; the deadline stands. */
  rest(): void {
    clearTimeout(this.#stall);
  }

  release(): void {
    this.rest();
    clearTimeout(this.#deadline);
    this.#given?.removeEventListener("abort", this.#abort);
  }

  #end(reason: unknown): void {
    this.release();
    this.#ending.abort(reason);
  }
}
