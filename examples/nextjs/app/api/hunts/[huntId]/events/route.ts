import { accountOf, ownsHunt } from "../../../../../lib/session";
import { workerSecret, workerUrl } from "../../../../../lib/worker";

export const dynamic = "force-dynamic";
/** Seconds. Where functions may not run for longer the browser comes again, and goes on where it was. */
export const maxDuration = 300;

interface Context {
  params: Promise<{ huntId: string }>;
}

/** Passes a hunt's live events on to the browser, which must not have the secret. */
export async function GET(request: Request, { params }: Context): Promise<Response> {
  const { huntId } = await params;
  const accountId = await accountOf(request);
  if (accountId === undefined || !(await ownsHunt(accountId, huntId))) return new Response(null, { status: 404 });

  const lastEventId = request.headers.get("last-event-id");
  const events = await fetch(`${workerUrl}/api/events?huntId=${encodeURIComponent(huntId)}`, {
    headers: {
      authorization: `Bearer ${workerSecret}`,
      ...(lastEventId === null ? {} : { "last-event-id": lastEventId }),
    },
    cache: "no-store",
    signal: request.signal,
  });
  if (!events.ok) return new Response(null, { status: events.status });
  return new Response(events.body, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" },
  });
}
