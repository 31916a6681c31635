import { afterAll, beforeAll, expect, test } from "vitest";
import type { SendRequest } from "../../src/channels/provider.ts";
import { finished, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import {
  accept,
  ambiguous,
  limited,
  notSent,
  refusal,
  scriptedProvider,
  type Script,
  type ScriptedProvider,
} from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
/** What happens to calls for a number; all others are accepted. */
const scripts = new Map<string, Script>();

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => (scripts.get(request.to) ?? accept)(request, signal), {
    timeoutMs: 200,
  });
  service = await world.start({}, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

let last = 0;

/** A number of its own, for which the provider does what `script` says. */
function number(script: Script): string {
  const to = phone((last += 1));
  scripts.set(to, script);
  return to;
}

/** The n-th call does what the n-th script says, later ones what the last does. */
function inTurn(...turns: Script[]): Script {
  let calls = 0;
  return (request, signal) => (turns[Math.min(calls++, turns.length - 1)] as Script)(request, signal);
}

const fails = (error: () => unknown): Script => {
  return () => {
    throw error();
  };
};

async function send(recipientPhone: string, extra: object = {}): Promise<string> {
  const answer = await service.post("/api/phone/sms", { recipientPhone, message: "Bonjour", ...extra });
  expect(answer.status).toBe(202);
  return answer.body.messageId;
}

async function eventsOf(messageId: string): Promise<string[]> {
  const { rows } = await world.sql.query("select kind, code from message_events where message_id = $1 order by id", [
    messageId,
  ]);
  return rows.map(({ kind, code }) => [kind, code].filter(Boolean).join(": "));
}

const jobOf = async (messageId: string) => (await service.get(`/api/jobs/sms/${messageId}`)).body;

test("a call that is accepted → carries attempt, number, sender and content; the message is sent once", async () => {
  const to = number(accept);
  const messageId = await send(to, { senderPhone: "+33987654321" });
  expect(await settles(service, messageId, "sent")).toMatchObject({ attempts: 1, provider: "scripted" });
  const calls = provider.calls.filter((call: SendRequest) => call.to === to);
  expect(calls).toEqual([
    {
      attemptId: expect.any(String),
      messageId,
      accountId: undefined,
      channel: "sms",
      lane: undefined,
      attemptNumber: 1,
      to,
      from: "+33987654321",
      content: { text: "Bonjour", segments: 1 },
    },
  ]);
  await expect.poll(() => jobOf(messageId)).toMatchObject({ state: "completed", result: { status: "sent" } });
});

test("two transient errors, then accepted → sent with the third attempt, backing off exponentially", async () => {
  const to = number(
    inTurn(
      fails(() => notSent()),
      fails(() => notSent()),
      accept,
    ),
  );
  const messageId = await send(to);
  expect(await settles(service, messageId, "sent")).toMatchObject({ attempts: 3, code: null });
  expect(provider.calls.filter((call) => call.to === to).map(({ attemptNumber }) => attemptNumber)).toEqual([1, 2, 3]);
  expect(new Set(provider.calls.filter((call) => call.to === to).map(({ attemptId }) => attemptId)).size).toBe(3);
  expect(await eventsOf(messageId)).toEqual(["retry: unreachable", "retry: unreachable", "sent"]);
  const job = await world.queue("sms").getJob(messageId);
  expect(job?.opts).toMatchObject({ attempts: 3, backoff: { type: "exponential", delay: 50 } });
});

test("transient errors for good → failed with the code after three attempts", async () => {
  const to = number(fails(() => notSent("line_down")));
  const messageId = await send(to);
  expect(await settles(service, messageId, "failed")).toMatchObject({
    attempts: 3,
    code: "line_down",
    detail: expect.any(String),
  });
  expect(provider.callsTo(to)).toBe(3);
  await expect.poll(() => jobOf(messageId)).toMatchObject({ state: "failed", maxAttempts: 3 });
  const { errors } = await jobOf(messageId);
  expect(errors).toHaveLength(3);
  expect(errors.at(-1)).toContain("line_down");
});

test("JOB_ATTEMPTS=1 → one call", async () => {
  await using other = await openWorld();
  const once = scriptedProvider(fails(() => notSent()));
  const single = await other.start({ JOB_ATTEMPTS: "1" }, { providers: { sms: once } });
  const { body } = await single.post("/api/phone/sms", { recipientPhone: phone(900), message: "Bonjour" });
  await settles(single, body.messageId, "failed");
  expect(once.calls).toHaveLength(1);
});

test("being rate-limited five times → does not use up the three attempts", async () => {
  const limits = Array.from({ length: 5 }, () => fails(() => limited()));
  const to = number(
    inTurn(
      ...limits,
      fails(() => notSent()),
      fails(() => notSent()),
      accept,
    ),
  );
  const messageId = await send(to);
  expect(await settles(service, messageId, "sent")).toMatchObject({ attempts: 8 });
  expect(provider.callsTo(to)).toBe(8);
});

test("being rate-limited for ever → ends failed with the code, after a bounded number of calls", async () => {
  const to = number(fails(() => limited()));
  const messageId = await send(to);
  expect(await settles(service, messageId, "failed")).toMatchObject({ code: "limited" });
  expect(provider.callsTo(to)).toBe(50);
});

test("a limit on one message → the others go on meanwhile", async () => {
  const to = number(fails(() => limited(600_000)));
  const contacts = [
    contact({ recipientPhone: to }),
    ...Array.from({ length: 30 }, () => contact({ recipientPhone: number(accept) })),
  ];
  const { jobId } = await submit(service, { accountId: await world.account(), contacts });
  const counts = async () => (await service.get(`/api/hunt/status/${jobId}`)).body.counts;
  await expect.poll(counts).toMatchObject({ sent: 30, queued: 1 });
  expect(provider.callsTo(to)).toBe(1);
});

test("refused for good → failed at once with the code, never called again", async () => {
  const to = number(fails(() => refusal("no_such_number")));
  const messageId = await send(to);
  expect(await settles(service, messageId, "failed")).toMatchObject({ attempts: 1, code: "no_such_number" });
  await expect.poll(() => jobOf(messageId)).toMatchObject({ state: "failed", attempts: 1 });
  expect(provider.callsTo(to)).toBe(1);
});

test("a refusal that says never again → the number is suppressed for the account", async () => {
  const to = number(fails(() => refusal("opted_out", true)));
  const accountId = await world.account();
  await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
  const { rows } = await world.sql.query("select phone, reason from suppressions where account_id = $1", [accountId]);
  expect(rows).toEqual([{ phone: to, reason: "carrier" }]);
  const { huntId } = await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
  expect((await messagesOf(service, huntId))[0]).toMatchObject({ status: "skipped", reason: "suppressed" });
  expect(provider.callsTo(to)).toBe(1);
});

test.each([
  ["a reset after the request left", () => ambiguous()],
  ["an error of the wrong type", () => new TypeError("undefined is not a function")],
  ["something that is no error", () => "boom"],
  ["undefined", () => undefined],
])("%s → unknown, never sent again", async (_, error) => {
  const to = number(fails(error));
  const messageId = await send(to);
  expect(await settles(service, messageId, "unknown")).toMatchObject({
    code: "ambiguous",
    attempts: 1,
    detail: expect.any(String),
  });
  expect((await eventsOf(messageId)).at(-1)).toBe("unknown: ambiguous");
  await expect.poll(async () => (await jobOf(messageId)).state).toBe("completed");
  expect(await service.post(`/api/jobs/sms/${messageId}/retry`, undefined)).toMatchObject({ status: 409 });
  expect(provider.callsTo(to)).toBe(1);
});

test("an error of the wrong type → is in the log, as a fault of ours", async () => {
  const messageId = await send(number(fails(() => new TypeError("undefined is not a function"))));
  await settles(service, messageId, "unknown");
  const lines = service.logs.filter((line) => JSON.stringify(line).includes("undefined is not a function"));
  expect(lines).not.toEqual([]);
});

test("a provider that answers without an id → the message is not lost", async () => {
  const messageId = await send(number((() => undefined) as unknown as Script));
  expect(await settles(service, messageId, "unknown")).toMatchObject({ attempts: 1 });
});

test("a provider that never settles → unknown after its time-out, the job is not stuck", async () => {
  let aborted = false;
  const to = number((_request, signal) => {
    signal.addEventListener("abort", () => (aborted = true), { once: true });
    return new Promise<never>(() => {});
  });
  const messageId = await send(to);
  expect(await settles(service, messageId, "unknown")).toMatchObject({ attempts: 1, code: "ambiguous" });
  await expect.poll(async () => (await jobOf(messageId)).state).toBe("completed");
  expect(aborted).toBe(true);
  expect(provider.callsTo(to)).toBe(1);
});

test("providers that never settle, more than there are places → the queue goes on after their time-outs", async () => {
  const contacts = Array.from({ length: 25 }, () =>
    contact({ recipientPhone: number(() => new Promise<never>(() => {})) }),
  );
  const { jobId } = await submit(service, { accountId: await world.account(), contacts });
  await settles(service, await send(number(accept)), "sent");
  expect(await finished(service, jobId)).toMatchObject({ counts: { unknown: 25 } });
});

test("one contact after another failing in its own way → the others are sent", async () => {
  const bad: Script[] = [
    fails(() => refusal()),
    fails(() => notSent()),
    fails(() => ambiguous()),
    fails(() => new RangeError("broken")),
    () => new Promise<never>(() => {}),
  ];
  const contacts = Array.from({ length: 60 }, (_, i) =>
    contact({ adId: `ad_${i}`, recipientPhone: number(i % 10 < bad.length ? (bad[i % 10] as Script) : accept) }),
  );
  const { jobId, huntId } = await submit(service, { accountId: await world.account(), contacts });
  expect(await finished(service, jobId)).toMatchObject({ total: 60, counts: { sent: 30, failed: 12, unknown: 18 } });
  const sent = (await messagesOf(service, huntId)).filter(({ status }) => status === "sent").map(({ adId }) => adId);
  expect(sent).toEqual(contacts.filter((_, i) => i % 10 >= 5).map(({ adId }) => adId));
});

test("eleven jobs for one message at once → the provider is called once", async () => {
  await world.queue("sms").pause();
  const to = number(accept);
  const messageId = await send(to);
  const data = { messageId, channel: "sms", to, content: { text: "Bonjour" } };
  const copies = Array.from({ length: 10 }, (_, i) => ({
    name: "sms",
    data,
    opts: { jobId: `copy-${i}-${messageId}` },
  }));
  await world.queue("sms").addBulk(copies);
  await world.queue("sms").resume();
  await settles(service, messageId, "sent");
  const ended = async () => Promise.all(copies.map(({ opts }) => world.queue("sms").getJobState(opts.jobId)));
  await expect.poll(ended).toEqual(copies.map(() => "completed"));
  expect(provider.callsTo(to)).toBe(1);
  expect(await eventsOf(messageId)).toEqual(["sent"]);
});

test("an id of the provider's that another message has → the first keeps it, both end in a visible state", async () => {
  const same: Script = () => ({ providerMessageId: "always-the-same" });
  const [a, b] = [number(same), number(same)];
  const ids = [await send(a), await send(b)];
  const states = async () => Promise.all(ids.map(async (id) => (await service.get(`/api/messages/${id}`)).body.status));
  await expect.poll(async () => (await states()).toSorted(), { timeout: 25_000 }).toEqual(["sent", "unknown"]);
  expect([provider.callsTo(a), provider.callsTo(b)]).toEqual([1, 1]);
});

test("an error whose words the database cannot store → the message still ends failed", async () => {
  const to = number(fails(() => refusal("bad\0code")));
  const messageId = await send(to);
  const state = async () => (await service.get(`/api/messages/${messageId}`)).body.status;
  await expect.poll(state, { timeout: 25_000 }).not.toMatch(/queued|sending/);
  expect(provider.callsTo(to)).toBe(1);
  expect(await state()).toBe("failed");
});

test("all of this → neither number nor text of a message stands in the log", async () => {
  const log = JSON.stringify(service.logs);
  expect(log).not.toContain("Bonjour");
  expect([...scripts.keys()].filter((to) => log.includes(to))).toEqual([]);
});
