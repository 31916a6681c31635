import { accountOf, ownsHunt } from "../../../../lib/session";
import { worker } from "../../../../lib/worker";
import type { Progress } from "../../../../lib/progress";

interface Context {
  params: Promise<{ huntId: string }>;
}

/** How far a hunt is now. */
export async function GET(request: Request, { params }: Context): Promise<Response> {
  const { huntId } = await params;
  const accountId = await accountOf(request);
  if (accountId === undefined || !(await ownsHunt(accountId, huntId))) return new Response(null, { status: 404 });
  const hunt = await worker.hunt(huntId);
  if (!hunt.ok) return new Response(null, { status: hunt.error.status ?? 502 });
  const { total, counts, finishedAt } = hunt.value;
  return Response.json({ total, counts, completed: finishedAt !== null } satisfies Progress);
}
