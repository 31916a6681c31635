import { expect, inject } from "vitest";
import { TcpProxy } from "../../bench/chaos/tcp-proxy.ts";
import { attemptOf as attemptAt } from "../../bench/chaos/vendors/ticket.ts";
import { PUBLIC_URL } from "../contract/voice-under-test.ts";
import { type FakeCall, type FakeTwilioVoice, startFakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import { LOOPBACK } from "../fakes/twilio-voice/file-server.ts";
import { type Gate, openGate } from "./gate.ts";
import { phone, settles } from "./hunts.ts";
import { statusOf, until } from "./ledger.ts";
import { openWorld, type TestService, type World } from "./service.ts";

export const PATH = "/api/phone/ringless-voice";
export const FROM = "+33987650000";
export const TEXT = "Bonjour, c'est au sujet de votre vélo : 90 € & casque <compris> ?";
/** What Twilio says of a machine that is ready to record. */
export const MACHINE = "machine_end_beep";

/** A service that calls through Twilio, whose ways to Redis and to the database can be cut. */
export interface VoiceScene extends AsyncDisposable {
  readonly world: World;
  readonly twilio: FakeTwilioVoice;
  readonly service: TestService;
  readonly database: Gate;
  readonly toDatabase: TcpProxy;
  readonly toRedis: TcpProxy;
  /** The environment of who calls through this Twilio. */
  readonly calling: Record<string, string>;
  /** A number that nobody has yet. */
  person(): string;
  /** Leaves a voicemail for somebody new, and waits for the call. */
  call(body?: Record<string, unknown>): Promise<{ id: string; to: string; call: FakeCall }>;
  /** The call to that number, once it is made. */
  callTo(to: string): Promise<FakeCall>;
  /** Has what waits for its next try looked at again; answers how much is still to be taken into the ledger. */
  hurried(): Promise<number>;
  /** Waits until the message is sent, and nobody knows yet whether it was heard. */
  sent(id: string): ReturnType<typeof settles>;
  delivered(id: string): ReturnType<typeof settles>;
  /** Everything can be reached again, whatever a test that failed has left. */
  mend(): Promise<void>;
}

export const attemptOf = (made: FakeCall): string | undefined => attemptAt(made.form?.["Url"]);

export async function openVoiceScene(): Promise<VoiceScene> {
  await using opened = new AsyncDisposableStack();
  const world = await openWorld();
  const twilio = opened.use(await startFakeTwilioVoice());
  const database = opened.use(await openGate(world.database.supabaseUrl));
  const toDatabase = opened.use(await TcpProxy.open(Number(new URL(database.url).port)));
  const toRedis = opened.use(await TcpProxy.open(Number(new URL(inject("stack").redisUrl).port)));
  // Its services are stopped before what they use.
  opened.use(world);
  const calling = {
    PUBLIC_URL,
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_API_BASE_URL: twilio.url,
    TWILIO_TIMEOUT_MS: "1000",
    TWILIO_VOICE_FROM: FROM,
    TWILIO_VOICE_CALLS_PER_SECOND: "100",
    // Calls only: texts go to the sandbox.
    SMS_PROVIDER: "sandbox",
  };
  const ways = {
    REDIS_URL: `redis://127.0.0.1:${toRedis.port}`,
    SUPABASE_URL: `http://127.0.0.1:${toDatabase.port}`,
  };
  const service = await world.start({ ...ways, ...calling }, { fetchPolicy: LOOPBACK });
  twilio.reach(PUBLIC_URL, service.url);
  const resources = opened.move();

  let last = 5000;
  const scene: VoiceScene = {
    world,
    twilio,
    service,
    database,
    toDatabase,
    toRedis,
    calling,
    person: () => phone((last += 1)),
    async call(body = { text: TEXT }) {
      const to = scene.person();
      const { messageId: id } = (await service.post(PATH, { recipientPhone: to, ...body })).body;
      return { id, to, call: await scene.callTo(to) };
    },
    async callTo(to) {
      const [made] = await until(
        async () => twilio.callsTo(to),
        ({ length }) => length > 0,
      );
      return made!;
    },
    async hurried() {
      const inbound = world.queue("inbound");
      for (const job of await inbound.getDelayed()) await job.promote().catch(() => {});
      return inbound.getJobCountByTypes("waiting", "active", "delayed", "prioritized");
    },
    sent: (id) => settles(service, id, "sent"),
    async delivered(id) {
      await expect.poll(async () => (await scene.hurried(), statusOf(world, id))).toBe("delivered");
      return settles(service, id, "delivered");
    },
    async mend() {
      twilio.reach(PUBLIC_URL, service.url);
      await Promise.all([toDatabase.mend(), toRedis.mend()]);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
  return scene;
}
