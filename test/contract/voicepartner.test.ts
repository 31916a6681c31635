import { type FileServer, startFileServer } from "../fakes/twilio-voice/file-server.ts";
import { type DropAnswer, startFakeVoicePartner } from "../fakes/voicepartner/fake-voicepartner.ts";
import { FILES } from "../helpers/media-files.ts";
import { type ProviderUnderTest, type Situation, describeProvider } from "./provider-contract.ts";
import { scriptedVendor, TO } from "./scripted-vendor.ts";
import { SHORT_TIMEOUT_MS } from "./twilio-under-test.ts";
import { VOICEPARTNER_VALUES, voicePartnerAt } from "./voice-under-test.ts";

const VENDOR = scriptedVendor<DropAnswer>({
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
});

async function startVoicePartner(situation: Situation): Promise<ProviderUnderTest> {
  const fake = await startFakeVoicePartner();
  const files: FileServer = await startFileServer({ "/audio/offre.mp3": { body: FILES.mp3 } });
  const provider = await voicePartnerAt(
    fake.url,
    VENDOR.hangs(situation) ? { VOICEPARTNER_TIMEOUT_MS: SHORT_TIMEOUT_MS } : {},
  );
  const content = { audioUrl: `${files.url}/audio/offre.mp3` };
  return {
    provider,
    recipientFor: (situation) => VENDOR.arrange(fake, situation),
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

describeProvider("VoicePartner", VENDOR.situations, startVoicePartner, {
  never: {
    fails_before_accepting: "it accepts, refuses or limits a message; a fault of its own leaves it in doubt",
    breaks_off_after_accepting: CANNOT_BE_ASKED,
    times_out_after_accepting: CANNOT_BE_ASKED,
  },
});
