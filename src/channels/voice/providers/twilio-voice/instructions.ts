import { within } from "../../../../core/deadline.ts";
import { UnavailableError } from "../../../../core/errors.ts";
import { callJobId, type Receipt } from "../../../../core/inbound.ts";
import type { WebhookDeps } from "../../../webhooks.ts";
import { digestOf, voiceContentSchema, VOICE_QUEUE } from "../../content.ts";
import type { Ticket } from "../../ticket.ts";
import { HANG_UP, leave, type SpokenIn, waitFor } from "./twiml.ts";

/** While the message cannot be read, the machine records so much silence, so often. */
const WAIT_SECONDS = 2;
const MAX_WAITS = 5;

/** A machine is recording: from then on the message's job is looked at instead of the ledger, milliseconds. */
const LEDGER_PATIENCE_MS = 1_500;
/** For so long after the attempt its job may stand in for the ledger: it does not know who has said stop meanwhile. */
const JOB_COUNTS_MS = 15 * 60_000;

/** What a machine that records is to do, as Twilio asks. */
interface Question {
  ticket: Ticket & { issuedAt: number };
  /** How often it has been told to wait. */
  waited: number;
  /** Where it asks again. */
  url: string;
  /** What Twilio could not do with our last answer. */
  notPlayed: boolean;
  /** Reports how the attempt has ended, where Twilio's own report will not know it. */
  receipt(code: string): { kind: "receipt" } & Receipt;
}

interface Answer {
  twiml: string;
  /** To be called when it has gone out. Rejects with `UnavailableError`. */
  sent?: () => Promise<void>;
}

type Ports = Pick<WebhookDeps, "clock" | "take" | "takeAfterwards" | "contentOf" | "jobContentOf">;

/**
 * Tells what to leave, and has it known that it did. That Twilio has asked is kept before it is answered, and that the answer
 * has gone out after: who dies in between leaves open whether the message was left, and never says so wrongly.
 */
export function instructions(spokenIn: SpokenIn, { clock, take, takeAfterwards, contentOf, jobContentOf }: Ports) {
  return async (question: Question): Promise<Answer> => {
    const { ticket, waited, url, notPlayed, receipt } = question;
    const { attemptId } = ticket;
    const known = (step: "asked" | "answered", keep: Ports["take"]): Promise<void> =>
      keep([{ kind: "instructions", attemptId, step }], callJobId(step, attemptId));
    const hangUp = async (code: string): Promise<Answer> => {
      await take([receipt(code)], callJobId("failed", attemptId));
      return { twiml: HANG_UP };
    };
    try {
      if (notPlayed) return await hangUp("twilio_not_played");
      const content = voiceContentSchema.safeParse(await contentFor(ticket));
      if (!content.success || digestOf(content.data) !== ticket.digest) return await hangUp("twilio_withdrawn");
      await known("asked", take);
      return { twiml: leave(content.data, spokenIn), sent: () => known("answered", takeAfterwards) };
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      return { twiml: waited >= MAX_WAITS ? HANG_UP : waitFor(url, WAIT_SECONDS) };
    }
  };

  async function contentFor({ messageId, issuedAt }: Question["ticket"]): Promise<unknown> {
    try {
      return await within(LEDGER_PATIENCE_MS, contentOf(messageId), overdue);
    } catch (error) {
      if (!(error instanceof UnavailableError) || clock.now() - issuedAt > JOB_COUNTS_MS) throw error;
      const kept = await jobContentOf(VOICE_QUEUE, messageId);
      if (kept === undefined) throw error;
      return kept;
    }
  }
}

const overdue = (): Error => new UnavailableError("database", "The database did not answer in time.");
