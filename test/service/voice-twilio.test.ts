import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { TcpProxy } from "../../bench/chaos/tcp-proxy.ts";
import { attemptOf as attemptAt } from "../../bench/chaos/vendors/ticket.ts";
import { PUBLIC_URL } from "../contract/voice-under-test.ts";
import { type FakeCall, type FakeTwilioVoice, startFakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import { type FileServer, LOOPBACK, startFileServer } from "../fakes/twilio-voice/file-server.ts";
import { type Gate, openGate } from "../helpers/gate.ts";
import { finished, messageOf, messagesOf, phone, settles, submit } from "../helpers/hunts.ts";
import { statusOf, until } from "../helpers/ledger.ts";
import { FILES } from "../helpers/media-files.ts";
import { startProcess } from "../helpers/process.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

const PATH = "/api/phone/ringless-voice";
const FROM = "+33987650000";
const TEXT = "Bonjour, c'est au sujet de votre vélo : 90 € & casque <compris> ?";

let world: World;
let twilio: FakeTwilioVoice;
let files: FileServer;
let database: Gate;
let toDatabase: TcpProxy;
let toRedis: TcpProxy;
let service: TestService;

const calling = (): Record<string, string> => ({
  PUBLIC_URL,
  TWILIO_ACCOUNT_SID: twilio.accountSid,
  TWILIO_AUTH_TOKEN: twilio.authToken,
  TWILIO_API_BASE_URL: twilio.url,
  TWILIO_TIMEOUT_MS: "1000",
  TWILIO_VOICE_FROM: FROM,
  TWILIO_VOICE_CALLS_PER_SECOND: "100",
  // Calls only: texts go to the sandbox.
  SMS_PROVIDER: "sandbox",
});

beforeAll(async () => {
  world = await openWorld();
  twilio = await startFakeTwilioVoice();
  files = await startFileServer({
    "/offre.mp3": { body: FILES.mp3 },
    "/page.mp3": { type: "text/html; charset=utf-8", body: FILES.html },
  });
  database = await openGate(world.database.supabaseUrl);
  toDatabase = await TcpProxy.open(Number(new URL(database.url).port));
  toRedis = await TcpProxy.open(Number(new URL(inject("stack").redisUrl).port));
  service = await world.start(
    {
      REDIS_URL: `redis://127.0.0.1:${toRedis.port}`,
      SUPABASE_URL: `http://127.0.0.1:${toDatabase.port}`,
      ...calling(),
    },
    { fetchPolicy: LOOPBACK },
  );
  twilio.reach(PUBLIC_URL, service.url);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await toRedis[Symbol.asyncDispose]();
  await toDatabase[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await twilio[Symbol.asyncDispose]();
  await files[Symbol.asyncDispose]();
});

let next = 0;
/** Leaves a voicemail for somebody new, and waits for the call. */
async function call(
  body: Record<string, unknown> = { text: TEXT },
): Promise<{ id: string; to: string; call: FakeCall }> {
  const to = phone(5000 + (next += 1));
  const { messageId: id } = (await service.post(PATH, { recipientPhone: to, ...body })).body;
  await until(
    async () => twilio.callsTo(to).length,
    (count) => count > 0,
  );
  return { id, to, call: twilio.callsTo(to)[0]! };
}

/** Has what waits for its next try looked at again; answers how much is still to be taken into the ledger. */
async function hurried(): Promise<number> {
  const inbound = world.queue("inbound");
  for (const job of await inbound.getDelayed()) await job.promote().catch(() => {});
  return inbound.getJobCountByTypes("waiting", "active", "delayed", "prioritized");
}

async function delivered(id: string): Promise<Awaited<ReturnType<typeof settles>>> {
  await expect.poll(async () => (await hurried(), statusOf(world, id))).toBe("delivered");
  return settles(service, id, "delivered");
}

/** Sent, but nobody knows yet whether it was heard. */
const sent = (id: string) => settles(service, id, "sent");

describe("a voicemail through Twilio", () => {
  test("a text is spoken in French after the beep, and counts as delivered when the call has ended", async () => {
    const { id, to, call: made } = await call();
    expect(await sent(id)).toMatchObject({ provider: "twilio-voice", providerMessageId: made.sid, attempts: 1 });
    const { verbs } = await twilio.pickUp(made, "machine_end_beep");
    expect(verbs).toEqual([{ verb: "Say", text: TEXT, voice: "Polly.Lea", language: "fr-FR" }, { verb: "Hangup" }]);
    expect(await twilio.end(made, "completed", "machine_end_beep")).toEqual([204]);
    expect(await delivered(id)).toMatchObject({ deliveredAt: expect.any(String) });
    expect(twilio.callsTo(to)).toHaveLength(1);
  });

  test("a recording is played", async () => {
    const audioUrl = `${files.url}/offre.mp3`;
    const { id, call: made } = await call({ audioUrl });
    const { verbs } = await twilio.pickUp(made, "machine_end_silence");
    expect(verbs).toEqual([{ verb: "Play", url: audioUrl }, { verb: "Hangup" }]);
    await twilio.end(made, "completed", "machine_end_silence");
    await delivered(id);
  });

  test.each([
    ["a person", "human", "twilio_answered_by_human"],
    ["a fax", "fax", "twilio_answered_by_fax"],
    ["nobody knows who", "unknown", "twilio_answered_by_unknown"],
  ])("%s who picks up is hung up on without a word, and the message has failed", async (_, answeredBy, code) => {
    const { id, call: made } = await call();
    const { verbs } = await twilio.pickUp(made, answeredBy);
    expect(verbs).toEqual([{ verb: "Hangup" }]);
    await twilio.end(made, "completed", answeredBy);
    expect(await settles(service, id, "failed")).toMatchObject({ code });
  });

  test.each([
    ["busy", "twilio_busy"],
    ["no-answer", "twilio_no_answer"],
    ["failed", "twilio_call_failed"],
    ["canceled", "twilio_canceled"],
  ])("a call that ends %s has failed with a code of its own", async (status, code) => {
    const { id, call: made } = await call();
    await sent(id);
    expect(await twilio.end(made, status)).toEqual([204]);
    expect(await settles(service, id, "failed")).toMatchObject({ code });
  });

  test("a report that comes before the call's id is known, and twice again after, counts once", async () => {
    let early: number[] = [];
    twilio.beforeAnswer = async (made) => {
      await twilio.pickUp(made, "machine_end_beep");
      early = await twilio.end(made, "completed", "machine_end_beep");
    };
    const { id, call: made } = await call();
    twilio.beforeAnswer = undefined;
    expect(await delivered(id)).toMatchObject({ providerMessageId: made.sid });
    expect(early).toEqual([204]);
    expect(await twilio.end(made, "completed", "machine_end_beep", 2)).toEqual([204, 204]);
    const { rows } = await world.sql.query(
      "select count(*)::int as n from message_events where message_id = $1 and kind = 'delivered'",
      [id],
    );
    expect(rows).toEqual([{ n: 1 }]);
  });

  test("a call of which nothing is ever heard again stays sent", async () => {
    const { id } = await call();
    expect(await sent(id)).toMatchObject({ status: "sent", deliveredAt: null });
  });

  test("a call that Twilio made without answering us is settled by its report, and not made again", async () => {
    const to = phone(4001);
    // Two calls to the same number just now: the list cannot tell which of them is ours.
    twilio.add({ to, from: FROM });
    twilio.add({ to, from: FROM });
    twilio.script(to, { kind: "hang", accept: true });
    const { messageId: id } = (await service.post(PATH, { recipientPhone: to, text: TEXT })).body;
    await until(
      () => statusOf(world, id),
      (status) => status === "unknown",
    );
    const made = twilio.callsTo(to).find(({ form }) => form !== undefined)!;
    expect((await twilio.pickUp(made, "machine_end_beep")).verbs).toHaveLength(2);
    await twilio.end(made, "completed", "machine_end_beep");
    expect(await delivered(id)).toMatchObject({ providerMessageId: made.sid, attempts: 1 });
    expect(twilio.requests.filter(({ form }) => form["To"] === to)).toHaveLength(1);
  });

  test("a message that was changed or erased after the call was made is not spoken", async () => {
    const { id, call: made } = await call();
    await sent(id);
    const set = "update messages set content = $2 where id = $1";
    await world.sql.query(set, [id, { text: "Autre chose" }]);
    expect((await twilio.pickUp(made, "machine_end_beep")).verbs).toEqual([{ verb: "Hangup" }]);
    await world.sql.query(set, [id, {}]);
    expect((await twilio.pickUp(made, "machine_end_beep")).verbs).toEqual([{ verb: "Hangup" }]);
  });

  test("a person who has said stop, or a suspended account, while the call waited → nothing is left, and it has failed", async () => {
    const { id, to, call: made } = await call();
    await sent(id);
    expect((await service.post("/api/suppressions", { phone: to })).status).toBe(200);
    expect((await twilio.pickUp(made, "machine_end_beep")).verbs).toEqual([{ verb: "Hangup" }]);
    expect(await settles(service, id, "failed")).toMatchObject({ code: "twilio_withdrawn" });
    await twilio.end(made, "completed", "machine_end_beep");

    const accountId = await world.account();
    const other = await call({ text: TEXT, accountId });
    await sent(other.id);
    await world.sql.query("update accounts set status = 'suspended' where id = $1", [accountId]);
    expect((await twilio.pickUp(other.call, "machine_end_beep")).verbs).toEqual([{ verb: "Hangup" }]);
    await settles(service, other.id, "failed");
    expect((await messageOf(service, id)).status).toBe("failed");
  });

  test("while the database is away the message is read from its job", async () => {
    const { id, call: made } = await call();
    await sent(id);
    await toDatabase.cut("refuse");
    expect((await twilio.pickUp(made, "machine_end_beep")).verbs).toEqual([
      expect.objectContaining({ text: TEXT }),
      { verb: "Hangup" },
    ]);
    await twilio.end(made, "completed", "machine_end_beep");
    await toDatabase.mend();
    await delivered(id);
  });

  test("while there is no job either the machine records silence, and then the message", async () => {
    const { id, call: made } = await call();
    await sent(id);
    await world.queue("voice").remove(id);
    await toDatabase.cut("refuse");
    const address = made.form?.["Url"] ?? "";
    // Whether Twilio says again who has picked up is not documented.
    const ask = (url: string, form: Record<string, string> = { CallSid: made.sid, CallStatus: "in-progress" }) =>
      fetch(url.split("#")[0]!.replace(PUBLIC_URL, service.url), {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded", "x-twilio-signature": twilio.sign(url, form) },
        body: new URLSearchParams(form).toString(),
      });
    const waiting = await (await ask(address, { CallSid: made.sid, AnsweredBy: "machine_end_beep" })).text();
    expect(waiting).toMatch(
      /<Pause length="2"\/><Redirect method="POST">https:\/\/worker\.example\.com\/[^<]+\?waited=1#rc=3&amp;rp=5xx,ct,rt</,
    );
    await toDatabase.mend();
    const redirect = /<Redirect method="POST">([^<]+)</.exec(waiting)?.[1] ?? "";
    await expect.poll(async () => (await ask(redirect)).text()).toContain("c&apos;est au sujet de votre vélo");
    // A machine does not record for ever.
    await toDatabase.cut("refuse");
    expect(await (await ask(redirect.replace("waited=1", "waited=5"))).text()).toContain(
      "<Response><Hangup/></Response>",
    );
    await toDatabase.mend();
  });
});

describe("a machine has picked up", () => {
  const MACHINE = "machine_end_beep";
  const ended = (made: FakeCall) => twilio.end(made, "completed", MACHINE);
  const attemptOf = (made: FakeCall) => attemptAt(made.form?.["Url"]);

  test("and we are reached by the fallback alone → the message is left, and delivered", async () => {
    const { id, call: made } = await call();
    await sent(id);
    const reached = twilio.via;
    let times = 0;
    twilio.via = (url) => ((times += 1) <= 4 ? "http://127.0.0.1:1/" : reached(url));
    const { verbs, statuses } = await twilio.pickUp(made, MACHINE);
    twilio.via = reached;
    expect(statuses).toEqual([504, 504, 504, 504, 200]);
    expect(verbs).toEqual([expect.objectContaining({ text: TEXT }), { verb: "Hangup" }]);
    expect(await ended(made)).toEqual([204]);
    await delivered(id);
  });

  test("and we are not reached at all → Twilio says that an error has occurred, and the message has failed, once", async () => {
    const { id, to, call: made } = await call();
    await sent(id);
    const reached = twilio.via;
    twilio.via = () => "http://127.0.0.1:1/";
    expect(await twilio.pickUp(made, MACHINE)).toMatchObject({ verbs: [], error: true });
    twilio.via = reached;
    expect(await ended(made)).toEqual([204]);
    const message = await settles(service, id, "failed");
    expect(message).toMatchObject({ code: "twilio_no_instructions", attempts: 1, deliveredAt: null });
    expect(twilio.callsTo(to)).toHaveLength(1);
    expect((await service.post(`/api/jobs/voice/${id}/retry`, {})).status).toBe(409);
  });

  test("and nobody can prove that nothing was left → no further channel; where it was not, the next one", async () => {
    const accountId = await world.account();
    const reached = twilio.via;
    const ways = async (lost: boolean): Promise<string[]> => {
      const to = phone(5000 + (next += 1));
      const contacts = [{ adId: "a", recipientPhone: to, channels: ["ringless_voice", "sms"], message: TEXT }];
      const { huntId: hunt } = await submit(service, { accountId, contacts });
      await until(
        async () => twilio.callsTo(to).length,
        (count) => count > 0,
      );
      const made = twilio.callsTo(to)[0]!;
      if (lost) twilio.via = () => "http://127.0.0.1:1/";
      await twilio.pickUp(
        made,
        MACHINE,
        lost ? undefined : { ErrorCode: "11200", ErrorUrl: "https://cdn.example.com/a.mp3" },
      );
      twilio.via = reached;
      await ended(made);
      await until(
        async () => (await messagesOf(service, hunt)).map(({ status }) => status as string),
        (statuses) => statuses.includes("failed") && !statuses.some((each) => each === "queued" || each === "sending"),
      );
      return (await messagesOf(service, hunt)).map(({ channel, code }) => `${channel} ${code ?? ""}`.trim());
    };
    expect(await ways(true)).toEqual(["ringless_voice twilio_no_instructions"]);
    expect(await ways(false)).toEqual(["ringless_voice twilio_not_played", "sms"]);
  });

  test("and Redis loses all that it holds → what was left is delivered: the ledger knew it at once", async () => {
    const { id, call: made } = await call();
    await sent(id);
    const inbound = world.queue("inbound");
    await inbound.pause();
    await twilio.pickUp(made, MACHINE);
    const answered = "select from voicemail_instructions where answered and attempt_id = $1";
    await until(
      async () => (await world.sql.query(answered, [attemptOf(made)])).rowCount,
      (count) => count === 1,
    );
    await inbound.drain(true);
    await inbound.resume();
    await ended(made);
    expect((await delivered(id)).deliveredAt).not.toBeNull();
  });

  test("and Twilio cannot play what it was told → it hangs up, and the message has failed", async () => {
    const { id, call: made } = await call();
    await sent(id);
    const gone = { ErrorCode: "11200", ErrorUrl: "https://cdn.example.com/offre.mp3" };
    expect((await twilio.pickUp(made, MACHINE, gone)).verbs).toEqual([{ verb: "Hangup" }]);
    await ended(made);
    expect(await settles(service, id, "failed")).toMatchObject({ code: "twilio_not_played" });
  });

  test("that it could not be played counts before the call's end, whichever is taken first", async () => {
    const { id, call: made } = await call();
    await sent(id);
    const inbound = world.queue("inbound");
    const attemptId = attemptOf(made);
    // As if its worker had not got through to the ledger: it waits for its next try.
    const failed = { kind: "receipt", provider: "twilio-voice", providerMessageId: made.sid, status: "failed" };
    const events = [{ ...failed, attempt: { messageId: id, attemptId }, code: "twilio_not_played", at: Date.now() }];
    const late = await inbound.add("events", { events }, { jobId: `failed-${attemptId}`, delay: 3_600_000 });
    await twilio.pickUp(made, MACHINE);
    await ended(made);
    // The end has been looked at, and waits as well.
    await until(
      () => inbound.getDelayedCount(),
      (count) => count === 2,
    );
    expect((await messageOf(service, id)).status).toBe("sent");
    await late.promote();
    expect(await settles(service, id, "failed")).toMatchObject({ code: "twilio_not_played" });
    await until(hurried, (left) => left === 0);
  });

  test("that it was answered is still in the queue at the end → which waits only for what the ledger does not know", async () => {
    const inbound = world.queue("inbound");
    const late = async (made: FakeCall) => {
      const attemptId = attemptOf(made);
      const events = [{ kind: "instructions", attemptId, step: "answered" }];
      return inbound.add("events", { events }, { jobId: `answered-${attemptId}`, delay: 3_600_000 });
    };
    const left = () => inbound.getJobCountByTypes("waiting", "active", "delayed", "prioritized");
    const [answered, asked] = [await call(), await call()];
    for (const { id } of [answered, asked]) await sent(id);

    const told = await late(answered.call);
    await twilio.pickUp(answered.call, MACHINE);
    await ended(answered.call);
    await until(
      () => statusOf(world, answered.id),
      (status) => status === "delivered",
    );
    await told.remove();

    const untold = await late(asked.call);
    const ask = "insert into voicemail_instructions (attempt_id, answered) values ($1, false)";
    await world.sql.query(ask, [attemptOf(asked.call)]);
    await ended(asked.call);
    await until(left, (count) => count === 1);
    expect((await messageOf(service, asked.id)).status).toBe("sent");
    await untold.promote();
    await until(
      () => statusOf(world, asked.id),
      (status) => status === "delivered",
    );
  });

  test("and Redis is away → what was left is delivered at once; what was not cannot be told yet", async () => {
    const [heard, silent] = [await call(), await call()];
    for (const { id } of [heard, silent]) await sent(id);
    await toRedis.cut("refuse");
    await until(
      async () => (await service.get("/api/queues/stats")).status,
      (status) => status === 503,
    );
    expect((await twilio.pickUp(heard.call, MACHINE)).verbs).toHaveLength(2);
    const answered = "select from voicemail_instructions where answered and attempt_id = $1";
    await until(
      async () => (await world.sql.query(answered, [attemptOf(heard.call)])).rowCount,
      (count) => count === 1,
    );
    expect(await ended(heard.call)).toEqual([204]);
    expect(await statusOf(world, heard.id)).toBe("delivered");
    expect(await ended(silent.call)).toEqual([503, 503, 503, 503]);
    await toRedis.mend();
    await until(
      () => ended(silent.call),
      (statuses) => statuses.at(-1) === 204,
    );
    expect(await settles(service, silent.id, "failed")).toMatchObject({ code: "twilio_no_instructions" });
  });

  /** Has the service at `url` answer, whose way to the ledger is `gate`; resolves when it is about to tell the ledger that it has. */
  async function answeredBy(url: string, gate: Gate, made: FakeCall, asked = async () => {}): Promise<void> {
    const here = twilio.via;
    twilio.reach(PUBLIC_URL, url);
    const isAsked = gate.hold("record_instructions", "after");
    const heard = twilio.pickUp(made, MACHINE);
    await isAsked;
    await asked();
    gate.release("record_instructions");
    const isAnswered = gate.hold("record_instructions", "before");
    expect((await heard).verbs).toHaveLength(2);
    twilio.via = here;
    await isAnswered;
  }

  test("and who answered is killed before the ledger knows → Redis does, and what was left is delivered", async () => {
    const { id, call: made } = await call();
    await sent(id);
    await using gate = await openGate(world.database.supabaseUrl);
    const own = { ...calling(), ROLE: "api", SUPABASE_URL: gate.url };
    await using answering = await startProcess({ ...world.environment, ...own });
    await answeredBy(answering.url, gate, made);
    answering.kill("SIGKILL");
    expect(await answering.exited).toBeNull();
    await ended(made);
    expect((await delivered(id)).deliveredAt).not.toBeNull();
  });

  test("and neither the ledger nor Redis can be had then → it is tried again, and a stop waits for that", async () => {
    const { id, call: made } = await call();
    await sent(id);
    await using gate = await openGate(world.database.supabaseUrl);
    await using ownDatabase = await TcpProxy.open(Number(new URL(gate.url).port));
    await using ownRedis = await TcpProxy.open(Number(new URL(inject("stack").redisUrl).port));
    const answering = await world.start({
      ...calling(),
      ROLE: "api",
      REDIS_URL: `redis://127.0.0.1:${ownRedis.port}`,
      SUPABASE_URL: `http://127.0.0.1:${ownDatabase.port}`,
    });
    await answeredBy(answering.url, gate, made, async () => {
      await ownRedis.cut("refuse");
      await until(
        async () => (await answering.get("/api/queues/stats")).status,
        (status) => status === 503,
      );
    });
    await ownDatabase.cut("refuse");
    // The call that is held stays so; those to come are not.
    void gate.hold("record_instructions", "before");
    gate.release("record_instructions");
    const stopped = answering.stop();
    await ownDatabase.mend();
    expect(await stopped).toBe(true);
    const answered = "select answered from voicemail_instructions where attempt_id = $1";
    expect((await world.sql.query(answered, [attemptOf(made)])).rows).toEqual([{ answered: true }]);
    await ended(made);
    await delivered(id);
  });

  test("and has gone before it was answered → nobody can tell, and the message stays sent", async () => {
    const { id, call: made } = await call();
    await sent(id);
    const form = { CallSid: made.sid, AnsweredBy: MACHINE };
    const address = made.form?.["Url"] ?? "";
    const held = database.hold("content_of", "before");
    const leaving = new AbortController();
    const asking = fetch(twilio.via(address.split("#")[0]!), {
      method: "POST",
      headers: { "x-twilio-signature": twilio.sign(address, form) },
      body: new URLSearchParams(form),
      signal: leaving.signal,
    });
    const gone = asking.catch((error: unknown) => error);
    await held;
    leaving.abort();
    expect(await gone).toMatchObject({ name: "AbortError" });
    // By its answer the service knows of everything that came before.
    await service.get("/health");
    database.release("content_of");
    const asked = "select answered from voicemail_instructions where attempt_id = $1";
    await expect
      .poll(async () => (await world.sql.query(asked, [attemptOf(made)])).rows)
      .toEqual([{ answered: false }]);
    await ended(made);
    await expect.poll(hurried).toBe(0);
    expect((await messageOf(service, id)).status).toBe("sent");
    // As of a process that was held up between its answer and saying so. Redis brings each again, in any order.
    for (const isAnswered of [true, false, true]) {
      await world.sql.query("select record_instructions($1, $2)", [attemptOf(made), isAnswered]);
      expect((await messageOf(service, id)).status).toBe("delivered");
    }
    const kinds = "select kind from message_events where message_id = $1 and kind in ('delivered', 'failed')";
    expect((await world.sql.query(kinds, [id])).rows).toEqual([{ kind: "delivered" }]);
  });
});

describe("who asks what to do in a call", () => {
  const post = (
    url: string,
    signature: string | undefined,
    body = "CallSid=CA1&CallStatus=completed&AnsweredBy=machine_end_beep",
  ) =>
    fetch(url.split("#")[0]!.replace(PUBLIC_URL, service.url), {
      method: "POST",
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        ...(signature === undefined ? {} : { "x-twilio-signature": signature }),
      },
      body,
    });

  test("nobody but Twilio hears the message, or says how a call ended", async () => {
    const { id, call: made } = await call();
    await sent(id);
    const form = { CallSid: "CA1", CallStatus: "completed", AnsweredBy: "machine_end_beep" };
    for (const field of ["Url", "StatusCallback"]) {
      const address = made.form?.[field] ?? "";
      const good = twilio.sign(address, form);
      const elsewhere = twilio.sign(`${address.split("#")[0]}/x`, form);
      for (const signature of [undefined, "", "AAAA", elsewhere, good.toLowerCase()]) {
        const answer = await post(address, signature);
        expect(answer.status, `${field} ${signature}`).toBe(401);
        expect(await answer.text()).not.toContain("vélo");
      }
      const changed = await post(address, good, "CallSid=CA2&CallStatus=completed&AnsweredBy=machine_end_beep");
      expect(changed.status).toBe(401);
    }
    expect(await messageOf(service, id)).toMatchObject({ status: "sent" });
  });

  test("a good signature over a ticket that is not ours is not enough", async () => {
    const url = `${PUBLIC_URL}/webhooks/twilio/voice/bm90LW91cnM.AAAAAAAAAAAAAAAAAAAAAA`;
    const form = { CallSid: "CA1", CallStatus: "completed", AnsweredBy: "machine_end_beep" };
    const answer = await post(url, twilio.sign(url, form), new URLSearchParams(form).toString());
    expect(answer.status).toBe(401);
    expect(await answer.json()).toMatchObject({ code: "invalid_signature" });
  });

  test("the address says nothing of the person or the message, and the log nothing of the address", async () => {
    const { to, call: made } = await call();
    await twilio.pickUp(made, "machine_end_beep");
    const token = made.form?.["Url"]?.split("/voice/")[1]?.split("#")[0] ?? "";
    const [payload = ""] = token.split(".");
    expect(Buffer.from(payload, "base64url").toString()).not.toMatch(new RegExp(`${to.slice(1)}|Bonjour|vélo`));
    const lines = JSON.stringify(service.logs);
    expect(lines).toContain("/webhooks/twilio/voice/:token");
    for (const secret of [token, TEXT, to.slice(1)]) expect(lines).not.toContain(secret);
  });
});

test("the routes that Twilio calls are documented, and want no Bearer token", async () => {
  const { paths } = (await service.get("/openapi.json")).body;
  for (const path of ["/webhooks/twilio/voice/{token}", "/webhooks/twilio/voice/{token}/status"]) {
    expect(paths[path]?.post, path).toMatchObject({ tags: ["Webhooks"], security: [] });
  }
});

describe("what is said to whoever asks for a voicemail", () => {
  test.each([
    ["5,000 characters", { text: "a".repeat(5000) }, "/text"],
    ["neither", {}, "/text"],
    ["both", { text: "a", audioUrl: "https://example.com/a.mp3" }, "/text"],
    ["no address", { audioUrl: "offre.mp3" }, "/audioUrl"],
  ])("%s → 400, and nobody is called", async (_, body, pointer) => {
    const before = twilio.requests.length;
    const answer = await service.post(PATH, { recipientPhone: phone(4500), ...body });
    expect(answer).toMatchObject({ status: 400, body: { errors: [expect.objectContaining({ pointer })] } });
    expect(twilio.requests).toHaveLength(before);
  });

  test("a recording that is a page → failed in clear words, and nobody is called", async () => {
    const to = phone(4501);
    const body = { recipientPhone: to, audioUrl: `${files.url}/page.mp3` };
    const { messageId: id } = (await service.post(PATH, body)).body;
    const failed = await settles(service, id, "failed");
    expect(failed.code).toBe("audio_wrong_type");
    expect(failed.detail).toMatch(/does not lead to a recording.*text\/html.*MP3 or WAV/);
    expect(twilio.callsTo(to)).toEqual([]);
  });

  test("a hunt with one recording for everybody asks for it once", async () => {
    files.files["/hunt.mp3"] = { body: FILES.mp3 };
    const audioUrl = `${files.url}/hunt.mp3`;
    const people = Array.from({ length: 12 }, (_, i) => phone(4600 + i));
    const contacts = people.map((recipientPhone, i) => ({
      adId: `ad_${i}`,
      recipientPhone,
      channel: "ringless_voice",
      audioUrl,
    }));
    const accountId = await world.account();
    await world.credits(accountId, "ringless_voice", 100);
    const { jobId, huntId } = await submit(service, { accountId, contacts });
    await finished(service, jobId);
    expect((await messagesOf(service, huntId)).map(({ status }) => status)).toEqual(people.map(() => "sent"));
    expect(files.hits["/hunt.mp3"]).toBe(1);
    for (const to of people) expect(twilio.callsTo(to)).toHaveLength(1);
  });
});

test("a recording in a private network is never asked for, and nobody is called", async () => {
  // In a world of its own: the other service here may fetch from everywhere, and would take the message.
  await using guarded = await openWorld();
  await using unused = await startFakeTwilioVoice();
  const strict = await guarded.start({
    PUBLIC_URL,
    TWILIO_ACCOUNT_SID: unused.accountSid,
    TWILIO_AUTH_TOKEN: unused.authToken,
    TWILIO_API_BASE_URL: unused.url,
    TWILIO_VOICE_FROM: FROM,
  });
  const before = { ...files.hits };
  const addresses = ["http://169.254.169.254/latest/meta-data", `${files.url}/offre.mp3`, "http://localhost/a.mp3"];
  for (const audioUrl of addresses) {
    const { messageId: id } = (await strict.post(PATH, { recipientPhone: phone(4700), audioUrl })).body;
    expect(await settles(strict, id, "failed")).toMatchObject({ code: "audio_not_allowed" });
  }
  expect(files.hits).toEqual(before);
  expect(unused.requests).toEqual([]);
});
