import { once } from "node:events";
import type { IncomingMessage } from "node:http";
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

export interface GuardedPostOptions {
  headers: Record<string, string>;
  body: string;
  /** Of the answer's body no more is read. */
  maxAnswerBytes: number;
  timeouts?: FetchTimeouts | undefined;
  policy?: FetchPolicy | undefined;
}

/** Whatever the server says, redirects included: they are not followed. */
export interface PostAnswer {
  status: number;
  /** As it came; absent where there is none. */
  retryAfter?: string;
  /** The beginning of the body, as text. */
  text: string;
}

/**
 * Posts to an address that a caller gave, and never within a private network: checked as by `guardedFetch`, at the moment of
 * connecting. Throws `GuardedFetchError` where there is no answer.
 */
export async function guardedPost(url: string, options: GuardedPostOptions): Promise<PostAnswer> {
  const { headers, body, maxAnswerBytes, timeouts = {}, policy = {} } = options;
  const target = URL.parse(url);
  if (target === null) throw new GuardedFetchError("bad_url", `The URL ${UNFETCHABLE}.`);
  const fault = refusalOf(target, policy);
  if (fault !== undefined) throw new GuardedFetchError(fault.code, `The URL ${fault.detail}.`);
  const watch = new Watch("The exchange", timeouts);
  const server = `The server at ${target.host.slice(0, MAX_QUOTED)}`;
  const hop: Hop = { target, policy, watch, subject: "The URL", server };
  try {
    const response = await request(hop, { method: "POST", headers, body });
    const retryAfter = response.headers["retry-after"];
    const text = await beginningOf(response, hop, maxAnswerBytes);
    return { status: response.statusCode ?? 0, text, ...(retryAfter === undefined ? {} : { retryAfter }) };
  } finally {
    watch.release();
  }
}

const isSuccess = ({ statusCode = 0 }: IncomingMessage): boolean => statusCode >= 200 && statusCode < 300;

/** Of a success what has come is enough, where the rest stays away: it has been taken, and must not be posted again. */
async function beginningOf(response: IncomingMessage, hop: Hop, maxBytes: number): Promise<string> {
  const { watch, server } = hop;
  const chunks: Buffer[] = [];
  let bytes = 0;
  const expectMore = (): void => watch.expect(watch.idleMs, `${server} stopped sending.`);
  response.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    expectMore();
    if (bytes >= maxBytes) response.destroy();
  });
  expectMore();
  try {
    await once(response, "close", { signal: watch.signal });
  } catch (error) {
    if (!isSuccess(response)) throw watch.signal.aborted ? watch.signal.reason : failure(error, hop);
  } finally {
    response.destroy();
  }
  return Buffer.concat(chunks).subarray(0, maxBytes).toString();
}
