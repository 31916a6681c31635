import { afterEach, describe, expect, test } from "vitest";
import { PUBLIC_URL } from "../contract/voice-under-test.ts";
import { type FileServer, LOOPBACK, startFileServer } from "../fakes/twilio-voice/file-server.ts";
import { type FakeVoicePartner, startFakeVoicePartner } from "../fakes/voicepartner/fake-voicepartner.ts";
import { messageOf, phone, settles } from "../helpers/hunts.ts";
import { statusOf, until } from "../helpers/ledger.ts";
import { FILES } from "../helpers/media-files.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

const PATH = "/api/phone/ringless-voice";

interface Stage {
  world: World;
  vendor: FakeVoicePartner;
  files: FileServer;
  service: TestService;
  audioUrl: string;
  start(): Promise<TestService>;
}

let opened = new AsyncDisposableStack();
afterEach(async () => {
  await opened.disposeAsync();
  opened = new AsyncDisposableStack();
});

async function openStage(perMinute: number, extra: Record<string, string> = {}): Promise<Stage> {
  const vendor = opened.use(await startFakeVoicePartner({ perMinute }));
  const files = opened.use(await startFileServer({ "/offre.mp3": { body: FILES.mp3 } }));
  const world = opened.use(await openWorld());
  const start = () =>
    world.start(
      {
        PUBLIC_URL,
        VOICEPARTNER_API_KEY: vendor.apiKey,
        VOICEPARTNER_EMAIL: "ops@example.com",
        VOICEPARTNER_API_BASE_URL: vendor.url,
        VOICEPARTNER_TIMEOUT_MS: "1000",
        VOICEPARTNER_REQUESTS_PER_MINUTE: String(Math.min(perMinute, 600)),
        ...extra,
      },
      { fetchPolicy: LOOPBACK },
    );
  const service = await start();
  vendor.reach(PUBLIC_URL, service.url);
  return { world, vendor, files, service, start, audioUrl: `${files.publicUrl}/offre.mp3` };
}

const post = async (service: TestService, to: string, body: Record<string, unknown>): Promise<string> =>
  (await service.post(PATH, { recipientPhone: to, ...body })).body.messageId as string;

describe("a drop through VoicePartner", () => {
  test("one number a request; its report says whether that person has it", async () => {
    const { vendor, service, audioUrl } = await openStage(600);
    const [first, second] = [await post(service, phone(1), { audioUrl }), await post(service, phone(2), { audioUrl })];
    for (const id of [first, second]) {
      expect(await settles(service, id, "sent")).toMatchObject({ provider: "voicepartner", attempts: 1 });
    }
    expect(vendor.campaigns.map(({ phoneNumbers }) => phoneNumbers).toSorted()).toEqual([phone(1), phone(2)]);
    expect(await vendor.report(vendor.campaignsTo(phone(1))[0]!, true, 2)).toEqual([204, 204]);
    expect(await vendor.report(vendor.campaignsTo(phone(2))[0]!, false)).toEqual([204]);
    await settles(service, first, "delivered");
    expect(await settles(service, second, "failed")).toMatchObject({ code: "voicepartner_not_delivered" });
  });

  test("a text is skipped, and says why", async () => {
    const { vendor, service } = await openStage(600);
    const id = await post(service, phone(1), { text: "Bonjour" });
    expect(await settles(service, id, "skipped")).toMatchObject({
      reason: "voicepartner_no_speech",
      detail: expect.stringContaining("rings the phone"),
    });
    expect(vendor.campaigns).toEqual([]);
  });

  test("a drop that was accepted without an answer is unknown until its report comes, and not made again", async () => {
    const { world, vendor, service, audioUrl } = await openStage(600);
    vendor.script(phone(1), { kind: "hang", accept: true });
    const id = await post(service, phone(1), { audioUrl });
    await until(
      () => statusOf(world, id),
      (status) => status === "unknown",
    );
    await vendor.report(vendor.campaignsTo(phone(1))[0]!, true);
    expect(await settles(service, id, "delivered")).toMatchObject({ attempts: 1 });
    expect(vendor.campaigns).toHaveLength(1);
  });

  test("who has no ticket of ours reports nothing", async () => {
    const { vendor, service, audioUrl } = await openStage(600);
    const id = await post(service, phone(1), { audioUrl });
    await settles(service, id, "sent");
    const { notifyUrl = "" } = vendor.campaigns[0]!;
    const query = "?campaign_token=x&campaign_id=y&delivered_quantity=1&total_quantity=1";
    for (const address of [
      `${PUBLIC_URL}/webhooks/voicepartner/x.y`,
      `${notifyUrl}A`,
      notifyUrl.replace(/voicepartner\/.../, "voicepartner/AAA"),
    ]) {
      expect(await vendor.call(address + query), address).toEqual([401]);
    }
    expect(await messageOf(service, id)).toMatchObject({ status: "sent" });
    // Numbers that make no sense prove that it was accepted, and nothing more.
    expect(await vendor.call(`${notifyUrl}?delivered_quantity=-1&total_quantity=many`)).toEqual([204]);
    expect(await messageOf(service, id)).toMatchObject({ status: "sent" });
  });

  test("a limit that VoicePartner itself keeps puts the message off, and does not fail it", async () => {
    const { vendor, service, audioUrl } = await openStage(600);
    vendor.script(phone(1), { kind: "answer", status: 429, headers: { "retry-after": "1" } });
    const id = await post(service, phone(1), { audioUrl });
    await settles(service, id, "sent");
    expect(vendor.campaigns).toHaveLength(1);
    expect(vendor.asked).toHaveLength(2);
  });
});

describe("one request a minute", () => {
  test("a backlog of drops in two processes → each has a turn of its own, nobody else is held up, no attempt is spent", async () => {
    const { world, vendor, service, audioUrl, start } = await openStage(1);
    const other = await start();
    for (let i = 0; i < 50; i += 1) await post(i % 2 ? other : service, phone(i), { audioUrl });
    const delayed = () => world.queue("voice").getDelayed();
    await until(
      async () => [vendor.asked.length, (await delayed()).length],
      ([asked, waiting]) => asked === 1 && waiting === 49,
    );
    const texts = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const answer = await service.post("/api/phone/sms", { recipientPhone: phone(1000 + i), message: "Bonjour" });
        return answer.body.messageId as string;
      }),
    );
    for (const id of texts) await settles(service, id, "delivered");
    // Nobody but the first has been called, nobody has failed, and who waits waits in the queue, for a worker of any process.
    expect(vendor.asked).toHaveLength(1);
    const { rows } = await world.sql.query(
      "select status, sum(attempts)::int as attempts, count(*)::int as n from messages where channel = 'ringless_voice' group by status order by status",
    );
    expect(rows).toEqual([
      { status: "queued", attempts: 0, n: 49 },
      { status: "sent", attempts: 1, n: 1 },
    ]);
    const waits = (await delayed()).map(({ delay }) => delay);
    // A minute apart: the last one comes after some fifty of them.
    expect(Math.max(...waits)).toBeGreaterThan(45 * 60_000);
    expect(new Set(waits.map((ms) => Math.round(ms / 30_000))).size).toBeGreaterThan(45);
  });
});
