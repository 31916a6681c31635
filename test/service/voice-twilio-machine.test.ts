import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { PUBLIC_URL } from "../contract/voice-under-test.ts";
import type { FakeCall, FakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import { messageOf, messagesOf, settles, submit } from "../helpers/hunts.ts";
import { statusOf, until } from "../helpers/ledger.ts";
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

describe("a machine has picked up", () => {
  const ended = (made: FakeCall) => twilio.end(made, "completed", MACHINE);

  test("and we are reached by the fallback alone → the message is left, and delivered", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    const reached = twilio.via;
    let times = 0;
    twilio.via = (url) => ((times += 1) <= 4 ? "http://127.0.0.1:1/" : reached(url));
    const { verbs, statuses } = await twilio.pickUp(made, MACHINE);
    twilio.via = reached;
    expect(statuses).toEqual([504, 504, 504, 504, 200]);
    expect(verbs).toEqual([expect.objectContaining({ text: TEXT }), { verb: "Hangup" }]);
    expect(await ended(made)).toEqual([204]);
    await scene.delivered(id);
  });

  test("and we are not reached at all → Twilio says that an error has occurred, and the message has failed, once", async () => {
    const { id, to, call: made } = await scene.call();
    await scene.sent(id);
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
      const to = scene.person();
      const contacts = [{ adId: "a", recipientPhone: to, channels: ["ringless_voice", "sms"], message: TEXT }];
      const { huntId: hunt } = await submit(service, { accountId, contacts });
      const made = await scene.callTo(to);
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
    const { id, call: made } = await scene.call();
    await scene.sent(id);
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
    expect((await scene.delivered(id)).deliveredAt).not.toBeNull();
  });

  test("and Twilio cannot play what it was told → it hangs up, and the message has failed", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    const gone = { ErrorCode: "11200", ErrorUrl: "https://cdn.example.com/offre.mp3" };
    expect((await twilio.pickUp(made, MACHINE, gone)).verbs).toEqual([{ verb: "Hangup" }]);
    await ended(made);
    expect(await settles(service, id, "failed")).toMatchObject({ code: "twilio_not_played" });
  });

  test("that it could not be played counts before the call's end, whichever is taken first", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
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
    await until(scene.hurried, (left) => left === 0);
  });

  test("that it was answered is still in the queue at the end → which waits only for what the ledger does not know", async () => {
    const inbound = world.queue("inbound");
    const late = async (made: FakeCall) => {
      const attemptId = attemptOf(made);
      const events = [{ kind: "instructions", attemptId, step: "answered" }];
      return inbound.add("events", { events }, { jobId: `answered-${attemptId}`, delay: 3_600_000 });
    };
    const left = () => inbound.getJobCountByTypes("waiting", "active", "delayed", "prioritized");
    const [answered, asked] = [await scene.call(), await scene.call()];
    for (const { id } of [answered, asked]) await scene.sent(id);

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
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    const form = { CallSid: "CA1", CallStatus: "completed", AnsweredBy: MACHINE };
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
    const form = { CallSid: "CA1", CallStatus: "completed", AnsweredBy: MACHINE };
    const answer = await post(url, twilio.sign(url, form), new URLSearchParams(form).toString());
    expect(answer.status).toBe(401);
    expect(await answer.json()).toMatchObject({ code: "invalid_signature" });
  });

  test("the address says nothing of the person or the message, and the log nothing of the address", async () => {
    const { to, call: made } = await scene.call();
    await twilio.pickUp(made, MACHINE);
    const token = made.form?.["Url"]?.split("/voice/")[1]?.split("#")[0] ?? "";
    const [payload = ""] = token.split(".");
    expect(Buffer.from(payload, "base64url").toString()).not.toMatch(new RegExp(`${to.slice(1)}|Bonjour|vélo`));
    const lines = JSON.stringify(service.logs);
    expect(lines).toContain("/webhooks/twilio/voice/:token");
    for (const secret of [token, TEXT, to.slice(1)]) expect(lines).not.toContain(secret);
  });
});
