import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { TcpProxy } from "../../bench/chaos/tcp-proxy.ts";
import { PUBLIC_URL } from "../contract/voice-under-test.ts";
import type { FakeCall, FakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import { type Gate, openGate } from "../helpers/gate.ts";
import { messageOf, settles } from "../helpers/hunts.ts";
import { statusOf, until } from "../helpers/ledger.ts";
import { startProcess } from "../helpers/process.ts";
import type { TestService, World } from "../helpers/service.ts";
import { attemptOf, MACHINE, openVoiceScene, TEXT, type VoiceScene } from "../helpers/voice-scene.ts";

let scene: VoiceScene;
let world: World;
let twilio: FakeTwilioVoice;
let service: TestService;

beforeAll(async () => {
  scene = await openVoiceScene();
  ({ world, twilio, service } = scene);
});
afterAll(() => scene[Symbol.asyncDispose]());
afterEach(() => scene.mend());

const ended = (made: FakeCall) => twilio.end(made, "completed", MACHINE);

describe("a call is made", () => {
  test("while the database is away the message is read from its job", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    await scene.toDatabase.cut("refuse");
    expect((await twilio.pickUp(made, MACHINE)).verbs).toEqual([
      expect.objectContaining({ text: TEXT }),
      { verb: "Hangup" },
    ]);
    await twilio.end(made, "completed", MACHINE);
    await scene.toDatabase.mend();
    await scene.delivered(id);
  });

  test("while there is no job either the machine records silence, and then the message", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    await world.queue("voice").remove(id);
    await scene.toDatabase.cut("refuse");
    const address = made.form?.["Url"] ?? "";
    // Whether Twilio says again who has picked up is not documented.
    const ask = (url: string, form: Record<string, string> = { CallSid: made.sid, CallStatus: "in-progress" }) =>
      fetch(url.split("#")[0]!.replace(PUBLIC_URL, service.url), {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded", "x-twilio-signature": twilio.sign(url, form) },
        body: new URLSearchParams(form).toString(),
      });
    const waiting = await (await ask(address, { CallSid: made.sid, AnsweredBy: MACHINE })).text();
    expect(waiting).toMatch(
      /<Pause length="2"\/><Redirect method="POST">https:\/\/worker\.example\.com\/[^<]+\?waited=1#rc=3&amp;rp=5xx,ct,rt</,
    );
    await scene.toDatabase.mend();
    const redirect = /<Redirect method="POST">([^<]+)</.exec(waiting)?.[1] ?? "";
    await expect.poll(async () => (await ask(redirect)).text()).toContain("c&apos;est au sujet de votre vélo");
    // A machine does not record for ever.
    await scene.toDatabase.cut("refuse");
    expect(await (await ask(redirect.replace("waited=1", "waited=5"))).text()).toContain(
      "<Response><Hangup/></Response>",
    );
    await scene.toDatabase.mend();
  });
});

describe("a machine has picked up", () => {
  test("and Redis is away → what was left is delivered at once; what was not cannot be told yet", async () => {
    const [heard, silent] = [await scene.call(), await scene.call()];
    for (const { id } of [heard, silent]) await scene.sent(id);
    await scene.toRedis.cut("refuse");
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
    await scene.toRedis.mend();
    await until(
      () => ended(silent.call),
      (statuses) => statuses.at(-1) === 204,
    );
    expect(await settles(service, silent.id, "failed")).toMatchObject({ code: "twilio_no_instructions" });
  });

  /** Has the service at `url` answer, whose way to the ledger is `gate`; resolves when it is about to tell the ledger that it has. */
  async function answeredBy(url: string, gate: Gate, made: FakeCall): Promise<void> {
    // Not that it was asked, which it waits for only so long before it answers.
    const isAnswered = gate.hold("record_instructions", "before", (body) => body.includes('"p_answered":true'));
    twilio.reach(PUBLIC_URL, url);
    expect((await twilio.pickUp(made, MACHINE)).verbs).toHaveLength(2);
    twilio.reach(PUBLIC_URL, service.url);
    await isAnswered;
  }

  test("and who answered is killed before the ledger knows → Redis does, and what was left is delivered", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    await using gate = await openGate(world.database.supabaseUrl);
    const own = { ...scene.calling, ROLE: "api", SUPABASE_URL: gate.url };
    await using answering = await startProcess({ ...world.environment, ...own });
    await answeredBy(answering.url, gate, made);
    answering.kill("SIGKILL");
    expect(await answering.exited).toBeNull();
    await ended(made);
    expect((await scene.delivered(id)).deliveredAt).not.toBeNull();
  });

  test("and neither the ledger nor Redis can be had then → it is tried again, and a stop waits for that", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    await using gate = await openGate(world.database.supabaseUrl);
    await using ownDatabase = await TcpProxy.open(Number(new URL(gate.url).port));
    await using ownRedis = await TcpProxy.open(Number(new URL(inject("stack").redisUrl).port));
    const answering = await world.start({
      ...scene.calling,
      ROLE: "api",
      REDIS_URL: `redis://127.0.0.1:${ownRedis.port}`,
      SUPABASE_URL: `http://127.0.0.1:${ownDatabase.port}`,
    });
    const untilRedis = (status: number) =>
      until(
        async () => (await answering.get("/api/queues/stats")).status,
        (found) => found === status,
      );
    await untilRedis(200);
    await ownRedis.cut("refuse");
    await untilRedis(503);
    await answeredBy(answering.url, gate, made);
    await ownDatabase.cut("refuse");
    // The call that is held stays so; those to come are not.
    gate.forgetHolds();
    const stopped = answering.stop();
    await ownDatabase.mend();
    expect(await stopped).toBe(true);
    const answered = "select answered from voicemail_instructions where attempt_id = $1";
    expect((await world.sql.query(answered, [attemptOf(made)])).rows).toEqual([{ answered: true }]);
    await ended(made);
    await scene.delivered(id);
  });

  test("and has gone before it was answered → nobody can tell, and the message stays sent", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    const form = { CallSid: made.sid, AnsweredBy: MACHINE };
    const address = made.form?.["Url"] ?? "";
    const held = scene.database.hold("content_of", "before");
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
    scene.database.release("content_of");
    const asked = "select answered from voicemail_instructions where attempt_id = $1";
    await expect
      .poll(async () => (await world.sql.query(asked, [attemptOf(made)])).rows)
      .toEqual([{ answered: false }]);
    await ended(made);
    await expect.poll(scene.hurried).toBe(0);
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
