/** Milliseconds. */
const RETRY_MS = 2000;
/** Proxies are told not to wait until there is more. */
const STREAM = { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" };

/**
 * A hunt's live events, for a browser, which must not have the secret. An `EventSource` that is answered anything but 200 gives up
 * for good, and one whose stream ends comes again where it was: so while the worker is away (it restarts, it is deployed) the answer
 * is an empty stream. 404 where the worker does not know the hunt, 502 where it refuses. Never rejects.
 */
export async function liveEvents(
  worker: { url: string; secret: string },
  huntId: string,
  request: Request,
): Promise<Response> {
  const lastEventId = request.headers.get("last-event-id");
  const events = await fetch(`${worker.url}/api/events?huntId=${encodeURIComponent(huntId)}`, {
    headers: {
      authorization: `Bearer ${worker.secret}`,
      ...(lastEventId === null ? {} : { "last-event-id": lastEventId }),
    },
    cache: "no-store",
    signal: request.signal,
  }).catch(() => undefined);
  if (events?.status === 404) return new Response(null, { status: 404 });
  if (events !== undefined && events.status >= 400 && events.status < 500 && events.status !== 429) {
    // Nothing that waiting mends: a wrong secret, a request that the worker does not take.
    return new Response(`The worker refused live events: ${events.status}`, { status: 502 });
  }
  return new Response(events?.ok ? events.body : `retry: ${RETRY_MS}\n\n`, { headers: STREAM });
}
