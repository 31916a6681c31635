import { Agent, request } from "undici";

export interface HttpOptions {
  /** For one request, milliseconds. */
  timeoutMs: number;
}

/** Answers of these have no body, and `Response` refuses one. */
const WITHOUT_BODY = new Set([204, 205, 304]);

/**
 * A `fetch` for supabase-js, with the same connections and errors as Node's own and without its streams: an answer of
 * PostgREST is read whole in any case, and the streams cost more than the request does.
 */
export function openHttp({ timeoutMs }: HttpOptions): typeof fetch {
  const dispatcher = new Agent();
  return async (input, init = {}) => {
    const timeout = AbortSignal.timeout(timeoutMs);
    const { statusCode, headers, body } = await request(input instanceof Request ? input.url : input, {
      dispatcher,
      method: (init.method ?? "GET") as "GET",
      headers: new Headers(init.headers),
      body: (init.body ?? null) as string | null,
      signal: init.signal ? AbortSignal.any([init.signal, timeout]) : timeout,
    });
    const text = await body.text();
    return new Response(WITHOUT_BODY.has(statusCode) ? null : text, {
      status: statusCode,
      headers: headers as Record<string, string>,
    });
  };
}
