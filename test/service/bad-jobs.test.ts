import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, huntId, messageOf, phone, settles, submit } from "../helpers/hunts.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
});
afterAll(() => world[Symbol.asyncDispose]());

/** The queue still works: the next good message on it is delivered. */
async function expectAlive(path = "/api/phone/sms", content: object = { message: "Bonjour" }): Promise<void> {
  const { body } = await service.post(path, { recipientPhone: phone(1), ...content });
  await settles(service, body.messageId, "delivered");
}

async function failureOf(queue: string, jobId: string): Promise<string[]> {
  await expect.poll(async () => (await service.get(`/api/jobs/${queue}/${jobId}`)).body.state).toBe("failed");
  return (await service.get(`/api/jobs/${queue}/${jobId}`)).body.errors;
}

const good = () => ({ messageId: randomUUID(), channel: "sms", to: phone(2), content: { text: "Bonjour" } });

test.each([
  ["null", null],
  ["a text", "boom"],
  ["a number", 7],
  ["a list", [1, 2, 3]],
  ["an empty object", {}],
  ["wrong types", { messageId: 5, channel: [], to: null, content: "x" }],
  ["an id that is no UUID", { ...good(), messageId: "1; drop table messages" }],
  ["a number in national format", { ...good(), to: "0612345678" }],
  ["an unknown channel", { ...good(), channel: "pigeon" }],
  ["a channel named like an object's property", { ...good(), channel: "constructor" }],
  ["another channel's content", { ...good(), content: { audioUrl: "https://a.example/b.mp3" } }],
  ["more content than there should be", { ...good(), content: { text: "Bonjour", html: "<b>" } }],
  ["an empty text", { ...good(), content: { text: "" } }],
  ["half of a surrogate pair", { ...good(), content: { text: "a\ud83d" } }],
  ["an outcome that makes no sense", { ...good(), outcome: { result: "won" } }],
  ["content that is very deep", { ...good(), content: JSON.parse(`${"[".repeat(500)}${"]".repeat(500)}`) }],
])("a job with %s → fails alone and says why, the worker lives", async (_, data) => {
  const jobId = `intruder-${randomUUID()}`;
  await world.queue("sms").add("sms", data, { jobId });
  expect(await failureOf("sms", jobId)).toEqual([expect.stringMatching(/payload is not valid: \S+/)]);
  await expectAlive();
});

test("a job for a message that the ledger does not know → fails, nothing is sent", async () => {
  const data = good();
  await world.queue("sms").add("sms", data, { jobId: data.messageId });
  expect(await failureOf("sms", data.messageId)).toEqual([expect.stringContaining("does not know")]);
  await expectAlive();
});

test("a job whose id is no UUID but names itself → fails, and the worker lives", async () => {
  const jobId = `self-${randomUUID()}`;
  await world.queue("sms").add("sms", { ...good(), messageId: jobId }, { jobId });
  expect(await failureOf("sms", jobId)).toEqual([expect.stringContaining("not valid")]);
  await expectAlive();
});

test.each([
  ["broken content", { content: { text: 5 } }],
  ["a broken number", { to: "nobody" }],
  ["another channel's content", { content: { audioUrl: "https://a.example/b.mp3" } }],
])("a message whose job was replaced by one with %s → ends failed, with a code", async (_, broken) => {
  await world.queue("sms").pause();
  const { body } = await service.post("/api/phone/sms", { recipientPhone: phone(3), message: "Bonjour" });
  const { messageId } = body;
  await world.queue("sms").remove(messageId);
  await world.queue("sms").add("sms", { ...good(), messageId, ...broken }, { jobId: messageId });
  await world.queue("sms").resume();
  expect(await settles(service, messageId, "failed")).toMatchObject({
    code: "invalid_job",
    detail: expect.any(String),
  });
  await expectAlive();
});

test("a message whose job names another number → is not sent to that number", async () => {
  await world.queue("sms").pause();
  const accountId = await world.account();
  const stranger = "+33612340001";
  const { body } = await service.post("/api/phone/sms", { accountId, recipientPhone: phone(4), message: "Bonjour" });
  const { messageId } = body;
  await world.queue("sms").remove(messageId);
  await world.queue("sms").add("sms", { ...good(), messageId, to: stranger }, { jobId: messageId });
  await world.queue("sms").resume();
  await expect.poll(async () => (await messageOf(service, messageId)).status).not.toBe("queued");
  // The sandbox refuses the stranger's number: that code would tell that it was called.
  await expect.poll(async () => (await messageOf(service, messageId)).status).not.toBe("sending");
  expect((await messageOf(service, messageId)).code).not.toBe("sandbox_refused");
});

test("a job whose data in Redis is no JSON → does not stop the queue", async () => {
  await world.queue("voice").pause();
  const jobId = `broken-${randomUUID()}`;
  await world.queue("voice").add("ringless_voice", {}, { jobId });
  await world.redis.hset(`${world.prefix}:voice:${jobId}`, "data", "{broken");
  await world.queue("voice").resume();
  await expectAlive("/api/phone/ringless-voice", { text: "Bonjour" });
  await expect
    .poll(() => service.logs.filter(({ msg, queue }) => msg === "worker error" && queue === "voice"))
    .not.toEqual([]);
  await expectAlive("/api/phone/ringless-voice", { text: "Bonjour" });
});

test.each([
  ["null", "plan", null],
  ["a list", "hunt", []],
  ["an unknown kind", "wipe", { jobId: randomUUID() }],
  ["a submission that is not there", "plan", { jobId: randomUUID(), huntId: "h", no: 0 }],
  ["a chunk number below zero", "plan", { jobId: randomUUID(), huntId: "h", no: -1 }],
  ["a chunk number beyond all", "plan", { jobId: randomUUID(), huntId: "h", no: 1e15 }],
])("a hunt job with %s → fails alone, the next hunt is planned", async (_, name, data) => {
  const jobId = `intruder-${randomUUID()}`;
  await world.queue("hunt").add(name, data, { jobId });
  expect(await failureOf("hunt", jobId)).not.toEqual([]);
  const hunt = {
    huntId: huntId(),
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(6) })],
  };
  const { jobId: next } = await submit(service, hunt);
  expect(await finished(service, next)).toMatchObject({ total: 1 });
});

test("nonsense in a queue without a worker → waits there, and the others go on", async () => {
  await world.queue("scraping").add("anything", null, { jobId: "nonsense" });
  expect(await service.get("/api/jobs/scraping/nonsense")).toMatchObject({ status: 200, body: { state: "waiting" } });
  await expectAlive();
});

test("all of this → neither number nor text of a message stands in the log", async () => {
  const log = JSON.stringify(service.logs);
  expect(log).not.toContain("Bonjour");
  for (const number of [phone(1), phone(2), phone(5)]) expect(log).not.toContain(number);
});
