import type { LookupAddress } from "node:dns";
import { lookup as resolveName } from "node:dns/promises";
import * as http from "node:http";
import * as https from "node:https";
import type { LookupFunction } from "node:net";
import { Readable } from "node:stream";
import { callbackify } from "node:util";
import { permitted, portOf, PRIVATE, refusalOf, UNFETCHABLE, type FetchPolicy } from "./addresses.ts";

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
 * Why a download was refused or failed. The message may be shown to the caller: it names at most the host that the
 * caller gave, never the rest of the URL (paths and queries hold tokens), a redirect's target, or what a name resolved to.
 */
export class GuardedFetchError extends Error {
  override readonly name = "GuardedFetchError";
  readonly code: GuardedFetchCode;
  /** The server's status, for `http_status`. */
  readonly status: number | undefined;
  /** Whether the same download may succeed later: timeouts, unreachable servers and the statuses 408, 429 and 5xx. */
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

export interface GuardedFetchOptions {
  /** The most that the body may have. */
  maxBytes: number;
  /** Says by its content type whether a body is wanted. Default: any. */
  accept?: ((contentType: string) => boolean) | undefined;
  /** Default: 5. */
  maxRedirects?: number | undefined;
  timeouts?: FetchTimeouts | undefined;
  /** Ends the download, the body too, with the signal's reason as the error. */
  signal?: AbortSignal | undefined;
  policy?: FetchPolicy | undefined;
}

export interface GuardedResponse {
  /** Where the body came from, after redirects. It may hold a token: not for logs. */
  url: string;
  /** In lower case, without parameters. `application/octet-stream` where the server gives none (RFC 9110, 8.3). */
  contentType: string;
  /** As the server says; absent where it does not. */
  contentLength?: number;
  /** Fails with a `GuardedFetchError` when a limit is met. Read it to its end or destroy it: until then a socket is open. */
  body: Readable;
}

const LATER = new Set([408, 429]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MAX_QUOTED = 100;
const MEDIA_TYPE = /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}$/;
const HEADERS = { accept: "*/*", "accept-encoding": "identity", "user-agent": "auto-prospect" };
/** After this long the next address of a name is tried. Node's 250 ms give up on servers that are merely far away. */
const NEXT_ADDRESS_MS = 1_000;

/**
 * Downloads what a caller's URL points to, and never from a private network (OWASP API7:2023). Every hop is checked
 * anew: scheme, port, and each address of its name at the moment of connecting, so that a name cannot resolve to
 * something else in between. If one address of a name is private, none is contacted. Nothing of ours is sent along, and
 * the environment's proxies are not used: they would resolve the name again, where we cannot see it.
 *
 * Throws `GuardedFetchError`, or the signal's reason. Anything but a 2xx of the wanted type and size is an error.
 */
export async function guardedFetch(url: string, options: GuardedFetchOptions): Promise<GuardedResponse> {
  const { maxRedirects = 5, timeouts = {}, signal, policy = {} } = options;
  signal?.throwIfAborted();
  let target = URL.parse(url);
  if (target === null) throw new GuardedFetchError("bad_url", `The URL ${UNFETCHABLE}.`);
  const host = target.host.slice(0, MAX_QUOTED);
  const watch = new Watch(timeouts, signal);
  try {
    for (let redirects = 0; ; redirects += 1) {
      const hop: Hop = {
        target,
        policy,
        watch,
        subject: redirects === 0 ? "The URL" : "The URL redirects to one that",
        server: redirects === 0 ? `The server at ${host}` : `A server that ${host} redirects to`,
      };
      const fault = refusalOf(target, policy);
      if (fault !== undefined) throw new GuardedFetchError(fault.code, `${hop.subject} ${fault.detail}.`);
      const response = await request(hop);
      watch.signal.throwIfAborted();
      const location = REDIRECTS.has(response.statusCode ?? 0) ? response.headers.location : undefined;
      if (location === undefined) return received(response, hop, options);
      response.destroy();
      if (redirects === maxRedirects) {
        throw new GuardedFetchError("too_many_redirects", `The URL redirects more than ${maxRedirects} times.`);
      }
      target = redirectOf(target, location);
    }
  } catch (error) {
    watch.release();
    throw error;
  }
}

/** One request of a download, and how its messages name it: only the first hop's host is the caller's own. */
interface Hop {
  target: URL;
  policy: FetchPolicy;
  watch: Watch;
  subject: string;
  server: string;
}

function redirectOf(from: URL, location: string): URL {
  const target = URL.parse(location, from.href);
  if (target === null) throw new GuardedFetchError("bad_url", `The URL redirects to one that ${UNFETCHABLE}.`);
  if (from.protocol === "https:" && target.protocol === "http:") {
    throw new GuardedFetchError("not_allowed", "The URL redirects from https to http, which is not followed.");
  }
  return target;
}

/** Resolves with the head of the answer. The connection is the request's own: one kept open would skip the check. */
function request(hop: Hop): Promise<http.IncomingMessage> {
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
    agent: secure ? new https.Agent(agentOptions) : new http.Agent(agentOptions),
    headers: HEADERS,
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
  outgoing.end();
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

function failure(cause: unknown, { server }: Hop): GuardedFetchError {
  if (cause instanceof GuardedFetchError) return cause;
  return new GuardedFetchError("unreachable", `${server} cannot be reached, or broke off.`, { cause });
}

/** The answer as the caller gets it, once its head is as wanted. */
function received(
  response: http.IncomingMessage,
  hop: Hop,
  { maxBytes, accept = () => true }: GuardedFetchOptions,
): GuardedResponse {
  try {
    const { statusCode: status = 0, headers } = response;
    const contentType = contentTypeOf(headers["content-type"]);
    const encoding = headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
    const contentLength = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
    if (status < 200 || status > 299) {
      throw new GuardedFetchError("http_status", `${hop.server} answers with status ${status}.`, { status });
    }
    if (encoding !== "identity" && encoding !== "") {
      throw new GuardedFetchError("wrong_type", `${hop.server} sends its content compressed, which is not accepted.`);
    }
    if (!accept(contentType)) {
      throw new GuardedFetchError("wrong_type", `${hop.server} sends ${contentType}, which is not a wanted type.`);
    }
    if (contentLength !== undefined && contentLength > maxBytes) throw tooBig(hop, maxBytes);
    return {
      url: hop.target.href,
      contentType,
      ...(contentLength === undefined ? {} : { contentLength }),
      body: bodyOf(response, hop, maxBytes),
    };
  } catch (error) {
    response.destroy();
    throw error;
  }
}

function contentTypeOf(header = ""): string {
  const type = header.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  return MEDIA_TYPE.test(type) ? type : "application/octet-stream";
}

function tooBig({ server }: Hop, maxBytes: number): GuardedFetchError {
  return new GuardedFetchError("too_big", `${server} sends more than the ${maxBytes} bytes that are accepted.`);
}

/** Passes the bytes on as they are asked for; holding them back while the reader is busy does not count as a stall. */
function bodyOf(response: http.IncomingMessage, hop: Hop, maxBytes: number): Readable {
  const { watch, server } = hop;
  let bytes = 0;
  const body = new Readable({
    read() {
      watch.expect(watch.idleMs, `${server} stopped sending.`);
      response.resume();
    },
    destroy(error, done) {
      watch.release();
      response.destroy();
      done(error);
    },
  });
  response.pause();
  response.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      body.destroy(tooBig(hop, maxBytes));
    } else if (!body.push(chunk)) {
      watch.rest();
      response.pause();
    }
  });
  response.once("end", () => {
    watch.release();
    body.push(null);
  });
  response.on("error", (cause) => body.destroy(failure(cause, hop)));
  watch.signal.addEventListener("abort", () => body.destroy(watch.signal.reason as Error), { once: true });
  // A limit may be met before the caller reads: the error then waits in the stream, instead of ending the process.
  body.on("error", () => {});
  return body;
}

/** Watches over one download until it is ended (deadline, stall, the caller's signal) or released; both are for good. */
class Watch {
  readonly connectMs: number;
  readonly idleMs: number;
  readonly #ending = new AbortController();
  readonly #deadline: NodeJS.Timeout;
  readonly #given: AbortSignal | undefined;
  readonly #abort = (): void => this.#end(this.#given?.reason);
  #stall: NodeJS.Timeout | undefined;

  constructor({ connectMs = 10_000, idleMs = 15_000, totalMs = 60_000 }: FetchTimeouts, given?: AbortSignal) {
    this.connectMs = connectMs;
    this.idleMs = idleMs;
    const message = `The download was not complete after ${totalMs / 1_000} seconds.`;
    this.#deadline = setTimeout(() => this.#end(new GuardedFetchError("timeout", message)), totalMs);
    this.#given = given;
    given?.addEventListener("abort", this.#abort, { once: true });
  }

  /** Aborted when the download is ended, with the error as its reason. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** Ends the download unless something else is expected, or nothing, within this time. */
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
