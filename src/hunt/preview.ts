import type { Clock } from "../core/clock.ts";
import type { StoredAccount } from "../store/accounts.ts";
import type { HuntTerms, PreviewStore } from "../store/previews.ts";
import type { Chunk, PlannedMessage } from "../store/store.ts";
import type { HuntHead } from "./body.ts";
import type { Contact } from "./contacts.ts";
import { planChunk, type Ways } from "./plan.ts";
import type { Preview } from "./preview.schema.ts";
import { createSheet } from "./preview.sheet.ts";
import { createTimes, type PreviewTimesDeps } from "./preview.times.ts";
import { withTimes } from "./timing.ts";

export interface PreviewDeps extends PreviewTimesDeps {
  previews: Pick<PreviewStore, "judge" | "used">;
  clock: Clock;
}

/** Contacts planned between two turns of the event loop, and messages looked up in one call. */
const SLICE = 100;
const PAGE = 1000;
const WEEK_MS = 7 * 86_400_000;

/** A preview that is being made of contacts as they come. */
export interface PreviewMaker {
  /** The next contacts, in their order. Rejects with `UnavailableError`. */
  take(contacts: readonly Contact[]): Promise<void>;
  /** Of all that were taken, by the hunt's head once all of its contacts have been read. Rejects with `UnavailableError`. */
  result(hunt: HuntHead): Promise<Preview>;
}

/**
 * What would become of a hunt that was submitted now, or added to one that there is. Writes nothing, and holds no contacts: counts,
 * samples, and who would get something already. Rejects with `UnavailableError`.
 */
export async function createPreview(
  hunt: HuntHead,
  account: StoredAccount,
  deps: PreviewDeps,
  terms?: HuntTerms,
): Promise<PreviewMaker> {
  const { huntId, accountId } = hunt;
  const now = deps.clock.now();
  const { policy, consentDeclared, defaultCountry } = account;
  const { content, sendAt } = hunt;
  const windows = terms ? terms.windows : hunt.windows;
  const own = { huntId, accountId, content, sendAt, windows, contacts: null };
  // Who is planned ends with the hunt, which a preview tells of once.
  const chunk: Chunk = {
    ...own,
    expiresAt: new Date(now + WEEK_MS).toISOString(),
    policy,
    consentDeclared,
    defaultCountry,
  };
  const sheet = createSheet(account);
  const times = createTimes(chunk, account.limits, await deps.previews.used(accountId), now, deps);
  const ways: Ways = new Map();
  let contacts = 0;
  let page: PlannedMessage[] = [];
  // One page is looked up while the next is planned; they are counted in their order.
  let judging = Promise.resolve();

  const judge = async (page: readonly PlannedMessage[]): Promise<void> => {
    const findings = await deps.previews.judge(page);
    page.forEach((message, i) => {
      if (sheet.take(message, findings[i] ?? null)) times.take(message);
    });
  };
  const turn = async (): Promise<void> => {
    await judging;
    judging = judge(page);
    page = [];
    // Whatever it rejects with is thrown where it is awaited.
    judging.catch(() => undefined);
  };

  return {
    async take(given) {
      contacts += given.length;
      for (let i = 0; i < given.length; i += SLICE) {
        const slice = given.slice(i, i + SLICE);
        page.push(
          ...withTimes(planChunk(chunk, slice, deps.channels, deps.rules, ways), slice, chunk, () => undefined),
        );
        if (page.length >= PAGE) await turn();
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    async result({ expiresAt, defaultExpiresAt }) {
      if (page.length > 0) await turn();
      await judging;
      const end = terms?.expiresAt ?? expiresAt ?? defaultExpiresAt ?? chunk.expiresAt;
      return { huntId, accountId, contacts, ...sheet.result(), ...times.result(Date.parse(end)) };
    },
  };
}
