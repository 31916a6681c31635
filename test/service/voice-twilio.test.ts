import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PUBLIC_URL } from "../contract/voice-under-test.ts";
import { type FakeTwilioVoice, startFakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import { type FileServer, LOOPBACK, startFileServer } from "../fakes/twilio-voice/file-server.ts";
import { finished, messageOf, messagesOf, phone, settles, submit } from "../helpers/hunts.ts";
import { statusOf, until } from "../helpers/ledger.ts";
import { FILES } from "../helpers/media-files.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";
import { FROM, MACHINE, openVoiceScene, PATH, TEXT, type VoiceScene } from "../helpers/voice-scene.ts";

let scene: VoiceScene;
let world: World;
let twilio: FakeTwilioVoice;
let service: TestService;
let files: FileServer;

beforeAll(async () => {
  scene = await openVoiceScene();
  ({ world, twilio, service } = scene);
  files = await startFileServer({
    "/offre.mp3": { body: FILES.mp3 },
    "/page.mp3": { type: "text/html; charset=utf-8", body: FILES.html },
  });
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
  await files[Symbol.asyncDispose]();
});

describe("a voicemail through Twilio", () => {
  test("a text is spoken in French after the beep, and counts as delivered when the call has ended", async () => {
    const { id, to, call: made } = await scene.call();
    expect(await scene.sent(id)).toMatchObject({ provider: "twilio-voice", providerMessageId: made.sid, attempts: 1 });
    const { verbs } = await twilio.pickUp(made, MACHINE);
    expect(verbs).toEqual([{ verb: "Say", text: TEXT, voice: "Polly.Lea", language: "fr-FR" }, { verb: "Hangup" }]);
    expect(await twilio.end(made, "completed", MACHINE)).toEqual([204]);
    expect(await scene.delivered(id)).toMatchObject({ deliveredAt: expect.any(String) });
    expect(twilio.callsTo(to)).toHaveLength(1);
  });

  test("a recording is played", async () => {
    const audioUrl = `${files.publicUrl}/offre.mp3`;
    const { id, call: made } = await scene.call({ audioUrl });
    const { verbs } = await twilio.pickUp(made, "machine_end_silence");
    expect(verbs).toEqual([{ verb: "Play", url: audioUrl }, { verb: "Hangup" }]);
    await twilio.end(made, "completed", "machine_end_silence");
    await scene.delivered(id);
  });

  test.each([
    ["a person", "human", "twilio_answered_by_human"],
    ["a fax", "fax", "twilio_answered_by_fax"],
    ["nobody knows who", "unknown", "twilio_answered_by_unknown"],
  ])("%s who picks up is hung up on without a word, and the message has failed", async (_, answeredBy, code) => {
    const { id, call: made } = await scene.call();
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
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    expect(await twilio.end(made, status)).toEqual([204]);
    expect(await settles(service, id, "failed")).toMatchObject({ code });
  });

  test("a report that comes before the call's id is known, and twice again after, counts once", async () => {
    let early: number[] = [];
    twilio.beforeAnswer = async (made) => {
      await twilio.pickUp(made, MACHINE);
      early = await twilio.end(made, "completed", MACHINE);
    };
    const { id, call: made } = await scene.call();
    twilio.beforeAnswer = undefined;
    expect(await scene.delivered(id)).toMatchObject({ providerMessageId: made.sid });
    expect(early).toEqual([204]);
    expect(await twilio.end(made, "completed", MACHINE, 2)).toEqual([204, 204]);
    const { rows } = await world.sql.query(
      "select count(*)::int as n from message_events where message_id = $1 and kind = 'delivered'",
      [id],
    );
    expect(rows).toEqual([{ n: 1 }]);
  });

  test("a call of which nothing is ever heard again stays sent", async () => {
    const { id } = await scene.call();
    expect(await scene.sent(id)).toMatchObject({ status: "sent", deliveredAt: null });
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
    expect((await twilio.pickUp(made, MACHINE)).verbs).toHaveLength(2);
    await twilio.end(made, "completed", MACHINE);
    expect(await scene.delivered(id)).toMatchObject({ providerMessageId: made.sid, attempts: 1 });
    expect(twilio.requests.filter(({ form }) => form["To"] === to)).toHaveLength(1);
  });

  test("a message that was changed or erased after the call was made is not spoken", async () => {
    const { id, call: made } = await scene.call();
    await scene.sent(id);
    const set = "update messages set content = $2 where id = $1";
    await world.sql.query(set, [id, { text: "Autre chose" }]);
    expect((await twilio.pickUp(made, MACHINE)).verbs).toEqual([{ verb: "Hangup" }]);
    await world.sql.query(set, [id, {}]);
    expect((await twilio.pickUp(made, MACHINE)).verbs).toEqual([{ verb: "Hangup" }]);
  });

  test("a person who has said stop, or a suspended account, while the call waited → nothing is left, and it has failed", async () => {
    const { id, to, call: made } = await scene.call();
    await scene.sent(id);
    expect((await service.post("/api/suppressions", { phone: to })).status).toBe(200);
    expect((await twilio.pickUp(made, MACHINE)).verbs).toEqual([{ verb: "Hangup" }]);
    expect(await settles(service, id, "failed")).toMatchObject({ code: "twilio_withdrawn" });
    await twilio.end(made, "completed", MACHINE);

    const accountId = await world.account();
    const other = await scene.call({ text: TEXT, accountId });
    await scene.sent(other.id);
    await world.sql.query("update accounts set status = 'suspended' where id = $1", [accountId]);
    expect((await twilio.pickUp(other.call, MACHINE)).verbs).toEqual([{ verb: "Hangup" }]);
    await settles(service, other.id, "failed");
    expect((await messageOf(service, id)).status).toBe("failed");
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
    const body = { recipientPhone: to, audioUrl: `${files.publicUrl}/page.mp3` };
    const { messageId: id } = (await service.post(PATH, body)).body;
    const failed = await settles(service, id, "failed");
    expect(failed.code).toBe("audio_wrong_type");
    expect(failed.detail).toMatch(/does not lead to a recording.*text\/html.*MP3 or WAV/);
    expect(twilio.callsTo(to)).toEqual([]);
  });

  test("a hunt with one recording for everybody asks for it once", async () => {
    files.files["/hunt.mp3"] = { body: FILES.mp3 };
    const audioUrl = `${files.publicUrl}/hunt.mp3`;
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
  const calling = {
    PUBLIC_URL,
    TWILIO_ACCOUNT_SID: unused.accountSid,
    TWILIO_AUTH_TOKEN: unused.authToken,
    TWILIO_API_BASE_URL: unused.url,
    TWILIO_VOICE_FROM: FROM,
  };
  const strict = await guarded.start(calling, { fetchPolicy: { lookup: LOOPBACK.lookup } });
  const before = { ...files.hits };
  const call = (audioUrl: string) => strict.post(PATH, { recipientPhone: phone(4700), audioUrl });
  for (const audioUrl of ["http://169.254.169.254/latest/meta-data", `${files.url}/offre.mp3`, "http://localhost/a"]) {
    expect(await call(audioUrl)).toMatchObject({ status: 400, body: { errors: [{ pointer: "/audioUrl" }] } });
  }
  // Only once it is fetched is it known where a name leads.
  const { messageId: id } = (await call(`${files.publicUrl}/offre.mp3`)).body;
  expect(await settles(strict, id, "failed")).toMatchObject({ code: "audio_not_allowed" });
  expect(files.hits).toEqual(before);
  expect(unused.requests).toEqual([]);
});
