import { afterAll, beforeAll, expect, test } from "vitest";
import type { Admission, Provider, Reconciliation } from "../../src/channels/provider.ts";
import { messageOf, phone, settles } from "../helpers/hunts.ts";
import { ambiguous, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

const GONE: Admission = { verdict: "skip", code: "not_there", detail: "This number is not there any more." };

let world: World;
let service: TestService;
let provider: ScriptedProvider;
/** What a recipient's attempt turns out to have come to. */
const answers = new Map<string, Reconciliation>();

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider(
    () => {
      throw ambiguous();
    },
    {
      // Admitted once; by the time that the attempt is to be cleared up, the recipient has gone.
      admit: async ({ to }) => (provider.callsTo(to) === 0 ? { verdict: "go" } : GONE),
      reconcile: async ({ to }) => answers.get(to) ?? { result: "inconclusive" },
    } satisfies Partial<Provider>,
  );
  service = await world.start({}, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

let last = 0;

async function send(answer: Reconciliation): Promise<{ to: string; messageId: string }> {
  const to = phone((last += 1));
  answers.set(to, answer);
  const { body } = await service.post("/api/phone/sms", {
    accountId: await world.account(),
    recipientPhone: to,
    message: "Bonjour",
  });
  return { to, messageId: body.messageId };
}

test.for([
  { answer: { result: "accepted", providerMessageId: "sm_1" }, status: "sent", code: null },
  { answer: { result: "inconclusive" }, status: "unknown", code: "ambiguous" },
  { answer: { result: "not_accepted" }, status: "skipped", code: "not_there" },
] satisfies { answer: Reconciliation; status: string; code: string | null }[])(
  "the recipient is gone when an attempt of unknown fate is taken over, which was $answer.result → $status, called once",
  async ({ answer, status, code }) => {
    const { to, messageId } = await send(answer);
    await settles(service, messageId, status);
    const { code: said, reason } = await messageOf(service, messageId);
    expect(said ?? reason ?? null).toBe(code);
    expect(provider.callsTo(to)).toBe(1);
  },
);

test("a provider with lanes whose sender is away is not asked about an attempt before the sender is back", async () => {
  let away = false;
  let admitted = 0;
  let askedWhileAway = 0;
  const laned = scriptedProvider(
    () => {
      away = true;
      throw ambiguous();
    },
    {
      lanes: { laneOf: async () => undefined, senderFault: async () => undefined, all: async () => [] },
      admit: async () => {
        admitted += 1;
        return away ? { verdict: "later", delayMs: 20 } : { verdict: "go" };
      },
      reconcile: async () => {
        if (away) askedWhileAway += 1;
        return away ? { result: "inconclusive" } : { result: "accepted", providerMessageId: "sm_lane" };
      },
    },
  );
  await using other = await world.start({ LOCK_MS: "1000" }, { providers: { sms: laned } });
  await service.stop();
  const to = phone((last += 1));
  const { body } = await other.post("/api/phone/sms", { recipientPhone: to, message: "Bonjour" });
  await expect.poll(() => admitted).toBeGreaterThan(4);
  expect(askedWhileAway).toBe(0);
  away = false;
  expect(await settles(other, body.messageId, "sent")).toMatchObject({ attempts: 1 });
  expect(laned.callsTo(to)).toBe(1);
});
