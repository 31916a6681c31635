import type { Provider, ProviderChoice } from "../channels/provider.ts";
import type { Store } from "../store/store.ts";
import { outcomeOf } from "./attempt.ts";

/** Who has a message's attempt, as the ledger knows; one that is no longer there cannot be asked about it. */
export async function whoHad(
  messageId: string,
  choice: ProviderChoice,
  store: Pick<Store, "message">,
): Promise<Pick<Provider, "name" | "reconcile">> {
  const name = (await store.message(messageId))?.provider ?? "";
  return choice.named(name) ?? { name };
}

/**
 * A call that the job knows of, without its end: the ledger has it in `sending`. If it has the message in `queued`, and no
 * end of that call, then it lost its last seconds in a failover: the call may have been made.
 */
export async function doubtForgotten(
  store: Pick<Store, "message" | "recordOutcome">,
  messageId: string,
  attemptId: string,
): Promise<void> {
  const message = await store.message(messageId);
  if (message?.status !== "queued") return;
  const detail =
    "The database lost its last seconds, and with them what became of a call; it is not sent again by itself.";
  await store.recordOutcome({
    ...outcomeOf(messageId, attemptId),
    result: "unknown",
    code: "attempt_forgotten",
    detail,
  });
}
