import { liveEvents } from "../../../../../lib/live-events";
import { accountOf, ownsHunt } from "../../../../../lib/session";
import { workerSecret, workerUrl } from "../../../../../lib/worker";

export const dynamic = "force-dynamic";
/** Seconds. Where functions may not run for longer the browser comes again, and goes on where it was. */
export const maxDuration = 300;

interface Context {
  params: Promise<{ huntId: string }>;
}

/** Passes a hunt's live events on to the browser. */
export async function GET(request: Request, { params }: Context): Promise<Response> {
  const { huntId } = await params;
  const accountId = await accountOf(request);
  if (accountId === undefined || !(await ownsHunt(accountId, huntId))) return new Response(null, { status: 404 });
  return liveEvents({ url: workerUrl, secret: workerSecret }, huntId, request);
}
