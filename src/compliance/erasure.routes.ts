import type { CountryCode } from "libphonenumber-js";
import { z } from "zod";
import { UnavailableError } from "../core/errors.ts";
import { parsePhone } from "../core/phone.ts";
import { invalidRequest, ProblemError } from "../core/problem.ts";
import { route, type Route } from "../core/route.ts";
import { shortText } from "../core/text.ts";
import type { ErasedMessage } from "../store/compliance.ts";
import type { Store } from "../store/store.ts";

export interface ErasureDeps {
  store: Pick<Store, "compliance">;
  /** Takes the jobs of messages out of the queues; answers the ids of those that no queue has (any more). */
  removeJobs(messages: readonly ErasedMessage[]): Promise<string[]>;
  /** Takes out of the queues what the number has written and the ledger has not taken. */
  forgetInbound(phone: string): Promise<void>;
}

const DEFAULT_COUNTRY = "FR";

/** Forgets a person. */
export function erasureRoutes({ store, removeJobs, forgetInbound }: ErasureDeps): Route[] {
  const { compliance } = store;
  return [
    route({
      method: "delete",
      path: "/api/contacts/:phone",
      tag: "Compliance",
      summary: "Erase a person",
      description:
        "For every account: what was written to the number and what came back is made nobody's, leads lose the number, what is " +
        "queued is skipped, and a salted hash of the number stays on the list, so that nobody contacts it again. An attempt that " +
        "is under way, and what a queue still has of it, follow by themselves as soon as it is over. Your own tables are yours.",
      params: z.object({ phone: shortText(100).describe("E.164, or French national format") }),
      responses: {
        200: {
          description: "Done. How many there were; nobody is left whom they are about.",
          schema: z.object({
            messages: z.number().int(),
            replies: z.number().int(),
            leads: z.number().int(),
            contacts: z.number().int().describe("Contacts of hunts that were not planned yet"),
          }),
          example: { messages: 3, replies: 1, leads: 2, contacts: 0 },
        },
        503: {
          description: "It cannot be done now.",
          codes: {
            erasure_off:
              "Without `SUPPRESSION_SALT` nothing is erased: whoever was erased could not be recognised, and would be contacted again.",
          },
        },
      },
      async handle({ params, log }) {
        const parsed = parsePhone(params.phone, DEFAULT_COUNTRY);
        if (!parsed.ok) throw invalidRequest([{ pointer: "/path/phone", detail: parsed.detail }]);
        if (!compliance.canErase) throw erasureOff();
        const waiting = await compliance.waitingContacts(parsed.e164);
        const theirs = waiting.filter(({ phone, country }) => {
          const contact = parsePhone(phone, (country ?? DEFAULT_COUNTRY) as CountryCode);
          return contact.ok && contact.e164 === parsed.e164;
        });
        const { left, ...erased } = await compliance.erase(parsed.e164, theirs);
        // After the erasure, so that none of it comes into the ledger behind its back.
        await Promise.all([removeJobs(left), forgetInbound(parsed.e164)]).catch((error: unknown) => {
          // The sweeper goes on with the messages.
          if (!(error instanceof UnavailableError)) throw error;
          log.warn({ err: error }, "a person was erased while Redis is away");
        });
        return { status: 200, body: erased };
      },
    }),
  ];
}

function erasureOff(): ProblemError {
  return new ProblemError({
    status: 503,
    code: "erasure_off",
    title: "Erasing is off",
    detail:
      "Set SUPPRESSION_SALT, once and for good, to a secret of 16 characters or more. Nothing was erased: without it whoever is " +
      "erased could not be recognised, and would be contacted again.",
  });
}
