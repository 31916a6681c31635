import { randomUUID } from "node:crypto";
import type { Contact } from "@auto-prospect/worker/client";
import { accountOf } from "../../../lib/session";
import { worker } from "../../../lib/worker";

/** Starts a hunt. The browser makes up `requestId` once a click, so that a click that is repeated starts one hunt. */
export async function POST(request: Request): Promise<Response> {
  const accountId = await accountOf(request);
  if (accountId === undefined) return Response.json({ error: "log in first" }, { status: 401 });
  const { requestId = randomUUID(), contacts } = (await request.json()) as {
    requestId?: string;
    contacts: Contact[];
  };
  const huntId = `${accountId}:${requestId}`;
  const hunt = await worker.executeHunt({ huntId, accountId, contacts }, { idempotencyKey: requestId });
  if (hunt.ok) return Response.json(hunt.value, { status: 202 });

  // `errors` names each contact that is wrong, by its place.
  const { code, message, errors, status } = hunt.error;
  return Response.json({ code, message, errors }, { status: status ?? 502 });
}
