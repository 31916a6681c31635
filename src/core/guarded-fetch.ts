import type * as http from "node:http";
import { Readable } from "node:stream";
import { refusalOf, UNFETCHABLE, type FetchPolicy } from "./addresses.ts";
import {
  failure,
  GuardedFetchError,
  MAX_QUOTED,
  request,
  Watch,
  type FetchTimeouts,
  type Hop,
} from "./guarded-request.ts";

export interface GuardedFetchOptions {
  /** The most that the body may have. */
  maxBytes: number;
  /** Says by its content type whether a body is wanted. Default: any. */
  accept?: ((contentType: string) => boolean) | undefined;
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
  /** Fails with a `GuardedFetchError` when a limit is met. Read it to its end or destroy it: until then a socket is open. */
  body: Readable;
}

const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MEDIA_TYPE = /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}$/;
const HEADERS = { accept: "*/*", "accept-encoding": "identity", "user-agent": "auto-prospect" };

/**
 * Downloads what a caller's URL points to, and never from a private network (OWASP API7:2023). Every hop is checked
 * anew: scheme, port, and each address of its name at the moment of connecting, so that a name cannot resolve to
 * something else in between. If one address of a name is private, none is contacted. Nothing of ours is sent along, and
 * the environment's proxies are not used: they would resolve the name again, where we cannot see it.
 *
 * Throws `GuardedFetchError`, or the signal's reason. Anything but a 2xx of the wanted type and size is an error.
 */
export async function guardedFetch(url: string, options: GuardedFetchOptions): Promise<GuardedResponse> {
  const { timeouts = {}, signal, policy = {} } = options;
  signal?.throwIfAborted();
  let target = URL.parse(url);
  if (target === null) throw new GuardedFetchError("bad_url", `The URL ${UNFETCHABLE}.`);
  const host = target.host.slice(0, MAX_QUOTED);
  const watch = new Watch("The download", timeouts, signal);
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
      const response = await request(hop, { headers: HEADERS });
      watch.signal.throwIfAborted();
      const location = REDIRECTS.has(response.statusCode ?? 0) ? response.headers.location : undefined;
      if (location === undefined) return received(response, hop, options);
      response.destroy();
      if (redirects === MAX_REDIRECTS) {
        throw new GuardedFetchError("too_many_redirects", `The URL redirects more than ${MAX_REDIRECTS} times.`);
      }
      target = redirectOf(target, location);
    }
  } catch (error) {
    watch.release();
    throw error;
  }
}

function redirectOf(from: URL, location: string): URL {
  const target = URL.parse(location, from.href);
  if (target === null) throw new GuardedFetchError("bad_url", `The URL redirects to one that ${UNFETCHABLE}.`);
  if (from.protocol === "https:" && target.protocol === "http:") {
    throw new GuardedFetchError("not_allowed", "The URL redirects from https to http, which is not followed.");
  }
  return target;
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
    if (status < 200 || status > 299) {
      throw new GuardedFetchError("http_status", `${hop.server} answers with status ${status}.`, { status });
    }
    if (encoding !== "identity" && encoding !== "") {
      throw new GuardedFetchError("wrong_type", `${hop.server} sends its content compressed, which is not accepted.`);
    }
    if (!accept(contentType)) {
      throw new GuardedFetchError("wrong_type", `${hop.server} sends ${contentType}, which is not a wanted type.`);
    }
    if (Number(headers["content-length"] ?? 0) > maxBytes) throw tooBig(hop, maxBytes);
    return { url: hop.target.href, contentType, body: bodyOf(response, hop, maxBytes) };
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
