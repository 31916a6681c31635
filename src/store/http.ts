import { Agent, request } from "undici";

export interface HttpOptions {
  /** For one request, milliseconds. */
  timeoutMs: number;
}

/** As much of a `Response` as supabase-js asks PostgREST's answers for. */
type Answer = Pick<Response, "ok" | "status" | "statusText" | "text"> & { headers: Pick<Headers, "get"> };

/**
 * A `fetch` for supabase-js, with the same connections and errors as Node's own and without its streams: an answer of
 * PostgREST is read whole in any case, and the streams cost more than the request does.
 */
export function openHttp({ timeoutMs }: HttpOptions): typeof fetch {
  const dispatcher = new Agent();
  return async (input, init = {}) => {
    const overdue = new AbortController();
    // A timer that is cleared, and not AbortSignal.timeout, which makes an exception for each request long after its end.
    const timer = setTimeout(
      () => overdue.abort(new DOMException("The database did not answer in time.", "TimeoutError")),
      timeoutMs,
    );
    try {
      const { statusCode, headers, body } = await request(input instanceof Request ? input.url : input, {
        dispatcher,
        method: (init.method ?? "GET") as "GET",
        headers: new Headers(init.headers),
        body: (init.body ?? null) as string | null,
        signal: init.signal ? AbortSignal.any([init.signal, overdue.signal]) : overdue.signal,
      });
      const text = await body.text();
      const answer: Answer = {
        ok: statusCode >= 200 && statusCode < 300,
        status: statusCode,
        statusText: "",
        headers: { get: (name) => headers[name.toLowerCase()]?.toString() ?? null },
        text: async () => text,
      };
      return answer as Response;
    } finally {
      clearTimeout(timer);
    }
  };
}
