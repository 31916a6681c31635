import { type FileServer, startFileServer } from "../fakes/twilio-voice/file-server.ts";
import {
  type DropAnswer,
  type FakeVoicePartner,
  startFakeVoicePartner,
} from "../fakes/voicepartner/fake-voicepartner.ts";
import { FILES } from "../helpers/media-files.ts";
import { type ProviderUnderTest, type Situation, describeProvider } from "./provider-contract.ts";
import { SHORT_TIMEOUT_MS } from "./twilio-under-test.ts";
import { VOICEPARTNER_VALUES, voicePartnerAt } from "./voice-under-test.ts";

const TO = "+33612348899";

const ANSWERS = {
  accepts: { kind: "accept" },
  refuses_for_good: {
    kind: "answer",
    status: 200,
    body: {
      success: false,
      code: 9,
      errors: [{ elementId: "children[phoneNumbers].data", message: `Numéro non valide (${TO})` }],
    },
  },
  limits_rate: { kind: "answer", status: 429, body: { message: `Too many requests for ${TO}` } },
  never_answers: { kind: "hang" },
  times_out_unresolvably: { kind: "hang" },
} satisfies Partial<Record<Situation, DropAnswer>>;

async function arrange(fake: FakeVoicePartner, situation: Situation): Promise<string> {
  if (situation === "is_unreachable") await fake[Symbol.asyncDispose]();
  else fake.script(TO, ANSWERS[situation as keyof typeof ANSWERS]);
  return TO;
}

async function startVoicePartner(situation: Situation): Promise<ProviderUnderTest> {
  const fake = await startFakeVoicePartner();
  const files: FileServer = await startFileServer({ "/audio/offre.mp3": { body: FILES.mp3 } });
  const hangs = situation in ANSWERS && ANSWERS[situation as keyof typeof ANSWERS].kind === "hang";
  const provider = await voicePartnerAt(fake.url, hangs ? { VOICEPARTNER_TIMEOUT_MS: SHORT_TIMEOUT_MS } : {});
  const content = { audioUrl: `${files.url}/audio/offre.mp3` };
  return {
    provider,
    recipientFor: (situation) => arrange(fake, situation),
    acceptedFor: (to) => fake.campaignsTo(to).length,
    secrets: [fake.apiKey, VOICEPARTNER_VALUES.VOICEPARTNER_SENDER ?? "", content.audioUrl],
    content,
    async [Symbol.asyncDispose]() {
      await provider.close?.();
      await fake[Symbol.asyncDispose]();
      await files[Symbol.asyncDispose]();
    },
  };
}

const CANNOT_BE_ASKED = "VoicePartner cannot be asked what became of a message; its report settles that";

describeProvider("VoicePartner", ["is_unreachable", ...(Object.keys(ANSWERS) as Situation[])], startVoicePartner, {
  never: {
    fails_before_accepting: "it accepts, refuses or limits a message; a fault of its own leaves it in doubt",
    breaks_off_after_accepting: CANNOT_BE_ASKED,
    times_out_after_accepting: CANNOT_BE_ASKED,
  },
});
