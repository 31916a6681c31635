import { isSigned } from "../../../../lib/standard-webhooks";
import { required } from "../../../../lib/worker";

interface WorkerEvent {
  /** The same however often it comes. */
  id: string;
  type: string;
  timestamp: string;
  data: Record<string, unknown>;
}

/** Takes what the worker tells of. Anything but 2xx has it come again, for about a day. */
export async function POST(request: Request): Promise<Response> {
  const body = await request.text();
  if (!isSigned(request.headers, body, required("AUTO_PROSPECT_WEBHOOK_SECRET"))) {
    return new Response("not signed", { status: 401 });
  }
  const event = JSON.parse(body) as WorkerEvent;
  switch (event.type) {
    case "message.reply":
      await once(event.id, async () => {
        // Show the reply at its contact: event.data.adId.
      });
      break;
    case "hunt.completed":
      await once(event.id, async () => {
        // Tell the customer.
      });
      break;
    default:
    // More types may be added: what is not known is passed over.
  }
  return new Response(null, { status: 204 });
}

/** An event may come again. In an app: insert the id into a table in the transaction that does the work. */
const seen = new Set<string>();
async function once(id: string, work: () => Promise<void>): Promise<void> {
  if (seen.has(id)) return;
  await work();
  seen.add(id);
}
