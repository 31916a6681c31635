import { FlowProducer } from "bullmq";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, huntId, messagesOf, phone, statusOf, submit } from "../helpers/hunts.ts";
import { accept, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
/** What calls wait for; undefined: nothing. */
let held: PromiseWithResolvers<void> | undefined;
let numbers = 0;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider(async (request, signal) => {
    await held?.promise;
    return accept(request, signal);
  });
  service = await world.start({ WORKER_CONCURRENCY: "2", SWEEP_MS: "200" }, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

interface Running {
  jobId: string;
  huntId: string;
  accountId: string;
  /** Whom it is to reach, in its order. */
  people: string[];
}

/** A hunt of eight whose first two are being sent, until `held` is resolved. */
async function running(credits?: number): Promise<Running> {
  held = Promise.withResolvers();
  const accountId = await world.account();
  if (credits !== undefined) await world.credits(accountId, "sms", credits);
  const people = Array.from({ length: 8 }, () => phone(numbers++));
  const contacts = people.map((recipientPhone) => contact({ recipientPhone }));
  const { jobId, huntId: id } = await submit(service, { accountId, contacts });
  await expect.poll(() => called({ people })).toBe(2);
  return { jobId, huntId: id, accountId, people };
}

const called = ({ people }: Pick<Running, "people">): number =>
  provider.calls.filter(({ to }) => people.includes(to)).length;
const steer = (hunt: string, action: string, by = service) =>
  by.post(`/api/hunt/${encodeURIComponent(hunt)}/${action}`, undefined);
const settledStatuses = async (hunt: Running): Promise<string[]> => {
  await expect.poll(async () => (await statusOf(service, hunt.jobId)).counts.sending).toBe(0);
  return (await messagesOf(service, hunt.huntId)).map(({ status }) => status);
};

test("pause: what is being sent is sent, nothing more begins; resume: the others are, each once", async () => {
  const hunt = await running();
  const answer = await steer(hunt.huntId, "pause");
  expect(answer).toMatchObject({ status: 200, body: { huntId: hunt.huntId, pausedAt: expect.any(String) } });
  held?.resolve();
  await expect.poll(async () => (await statusOf(service, hunt.jobId)).counts.sent).toBe(2);
  // What was in the queue already has been looked at.
  await expect.poll(() => world.queue("sms").getJobCountByTypes("wait", "active")).toBe(0);
  expect(called(hunt)).toBe(2);
  expect(await statusOf(service, hunt.jobId)).toMatchObject({
    state: "paused",
    etaSeconds: null,
    counts: { queued: 6 },
  });

  expect(await steer(hunt.huntId, "resume")).toMatchObject({ status: 200, body: { pausedAt: null } });
  await finished(service, hunt.jobId);
  expect(hunt.people.map((to) => provider.callsTo(to))).toEqual(hunt.people.map(() => 1));
});

test("a pause outlasts a restart and an emptied Redis, and is ended from another process", async () => {
  const hunt = await running();
  await steer(hunt.huntId, "pause");
  held?.resolve();
  expect((await settledStatuses(hunt)).filter((status) => status === "sent")).toHaveLength(2);
  await world.redis.del(...(await world.redis.keys(`${world.prefix}:sms:*`)));
  await using other = await world.start({ WORKER_CONCURRENCY: "2", SWEEP_MS: "200" }, { providers: { sms: provider } });
  expect(await statusOf(other, hunt.jobId)).toMatchObject({ state: "paused", counts: { queued: 6 } });
  expect(called(hunt)).toBe(2);
  expect((await steer(hunt.huntId, "resume", other)).status).toBe(200);
  await finished(other, hunt.jobId);
  expect(hunt.people.map((to) => provider.callsTo(to))).toEqual(hunt.people.map(() => 1));
});

test("cancel: what is being sent is sent, what waits is cancelled, and credits say so", async () => {
  const hunt = await running(10);
  expect(await steer(hunt.huntId, "cancel")).toMatchObject({ status: 200, body: { cancelledAt: expect.any(String) } });
  held?.resolve();
  expect((await settledStatuses(hunt)).toSorted()).toEqual([...Array(6).fill("cancelled"), "sent", "sent"]);
  expect(called(hunt)).toBe(2);
  expect(await statusOf(service, hunt.jobId)).toMatchObject({ state: "cancelled", finishedAt: expect.any(String) });
  const { rows } = await world.sql.query("select balance, reserved, spent from credits where account_id = $1", [
    hunt.accountId,
  ]);
  expect(rows).toEqual([{ balance: "8", reserved: "0", spent: "2" }]);
});

test("what cannot be: another state after a cancel, more contacts for it, a hunt that there is not", async () => {
  const hunt = await running();
  await steer(hunt.huntId, "cancel");
  held?.resolve();
  for (const action of ["pause", "resume"]) {
    expect(await steer(hunt.huntId, action)).toMatchObject({ status: 409, body: { code: "hunt_cancelled" } });
  }
  const more = {
    huntId: hunt.huntId,
    accountId: hunt.accountId,
    contacts: [contact({ recipientPhone: phone(numbers++) })],
  };
  expect(await service.post("/api/hunt/execute", more)).toMatchObject({
    status: 409,
    body: { code: "hunt_cancelled" },
  });
  expect(await steer(hunt.huntId, "cancel")).toMatchObject({ status: 200 });
  expect(await steer(huntId(), "pause")).toMatchObject({ status: 404, body: { code: "not_found" } });
});

test("hunts that wait for the planner, one of whose jobs is lost → that one is queued again, the other is left alone", async () => {
  const queue = world.queue("hunt");
  await queue.pause();
  held = undefined;
  const accountId = await world.account();
  const add = () => submit(service, { accountId, contacts: [contact({ recipientPhone: phone(numbers++) })] });
  const [kept, lost, before] = [await add(), await add(), await add()];
  const job = await queue.getJob(kept.jobId);
  await queue.remove(lost.jobId);
  // As a version before added it, and its chunk's job is lost.
  const { jobId } = before;
  await queue.remove(jobId);
  const flows = new FlowProducer({ connection: world.redis, prefix: world.prefix });
  const children = [{ name: "plan", queueName: "hunt", data: { ...before, no: 0 }, opts: { jobId: `${jobId}-0` } }];
  const whole = { name: "hunt", queueName: "hunt", data: { ...before, chunks: 1 }, opts: { jobId }, children };
  await flows.add(whole);
  await flows.close();
  await world.redis.del(queue.toKey(`${jobId}-0`));
  await world.sql.query(
    "update hunt_submissions set accepted_at = accepted_at - interval '1 minute' where planned_at is null",
  );
  await expect.poll(async () => (await queue.getJob(lost.jobId))?.id).toBe(lost.jobId);
  expect((await queue.getJob(kept.jobId))?.timestamp).toBe(job?.timestamp);
  await queue.resume();
  for (const each of [kept, lost, before]) await finished(service, each.jobId);
});
