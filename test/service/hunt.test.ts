import { afterAll, beforeAll, expect, test } from "vitest";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
});
afterAll(() => world[Symbol.asyncDispose]());

/** Submits a hunt and waits until nothing of it is open any more. */
async function run(hunt: Record<string, unknown>) {
  const accepted = await service.post("/api/hunt/execute", hunt);
  expect(accepted.status).toBe(202);
  const status = `/api/hunt/status/${accepted.body.jobId}`;
  await expect.poll(async () => (await service.get(status)).body.state).toBe("finished");
  return accepted.body as { jobId: string; huntId: string; accepted: number };
}

async function messagesOf(huntId: string): Promise<Record<string, unknown>[]> {
  return (await service.get(`/api/hunt/${huntId}/messages`)).body.messages;
}

test("a hunt over all channels ends with every contact in a visible state", async () => {
  const accountId = await world.account();
  const contacts = [
    contact({ adId: "a", recipientPhone: "+33612340100" }),
    contact({ adId: "b", recipientPhone: "06 12 34 01 01", channel: "whatsapp_text" }),
    contact({ adId: "c", recipientPhone: "+33612340102", channel: "ringless_voice" }),
    contact({ adId: "d", recipientPhone: "not a number" }),
    contact({ adId: "e", recipientPhone: "+33612340001" }),
  ];
  const { jobId, accepted } = await run({ huntId: "all-channels", accountId, contacts });
  expect(accepted).toBe(5);

  await expect.poll(async () => (await service.get(`/api/hunt/status/${jobId}`)).body.counts.delivered).toBe(3);
  const { body } = await service.get(`/api/hunt/status/${jobId}`);
  expect(body).toMatchObject({ total: 5, counts: { delivered: 3, failed: 1, skipped: 1, queued: 0 }, etaSeconds: 0 });
  const found = await messagesOf("all-channels");
  expect(found.map(({ adId, status, reason, code }) => [adId, status, reason, code])).toEqual([
    ["a", "delivered", null, null],
    ["b", "delivered", null, null],
    ["c", "delivered", null, null],
    ["d", "skipped", "invalid_number", null],
    ["e", "failed", null, "sandbox_refused"],
  ]);
});
