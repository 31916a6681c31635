import { randomUUID } from "node:crypto";
import type http from "node:http";
import { answerWith, FakeVendor, json, readRequest, type VendorAnswer } from "../fake-vendor.ts";

/** How the fake answers one drop. */
export type DropAnswer =
  | { kind: "answer"; status: number; body?: unknown; headers?: Record<string, string> }
  | VendorAnswer;

export interface Campaign {
  campaignId: string;
  phoneNumbers: string;
  tokenAudio: string;
  sender: string | undefined;
  notifyUrl: string | undefined;
  /** `performance.now()`. */
  at: number;
}

interface Options {
  apiKey?: string;
  recordings?: { name: string; token: string }[];
  /** Answers 429 to whoever sends more drops than so many in any minute. */
  perMinute?: number;
}

/** VoicePartner's API for drops over real HTTP on loopback, as its documentation shows it, and whatever failure is asked for. */
export class FakeVoicePartner extends FakeVendor<DropAnswer> {
  static readonly API_KEY = "vp5ecretKey0000000000000000";

  readonly apiKey: string;
  recordings: { name: string; token: string }[];
  readonly requests: { method: string; path: string; body: Record<string, unknown> }[] = [];
  /** Every drop that was taken, in order: who is in here twice was called twice. */
  readonly campaigns: Campaign[] = [];
  /** When drops were asked for, taken or not. */
  readonly asked: number[] = [];
  readonly #perMinute: number;
  /** Called with each drop that is taken, before its sender is answered, if at all. */
  onAccept: (campaign: Campaign) => void = () => {};
  constructor({ apiKey = FakeVoicePartner.API_KEY, recordings, perMinute = Infinity }: Options) {
    super();
    this.apiKey = apiKey;
    this.recordings = recordings ?? [{ name: "offre", token: "tokOffre" }];
    this.#perMinute = perMinute;
  }

  override async listen(port = 0): Promise<void> {
    await super.listen(port);
    this.url += "/v1";
  }

  campaignsTo(to: string): Campaign[] {
    return this.campaigns.filter(({ phoneNumbers }) => phoneNumbers.split(",").includes(to));
  }

  /** Reports the end of a campaign, by GET and unsigned, `times` over. Resolves with our answers. */
  async report({ notifyUrl, campaignId }: Campaign, delivered: boolean, times = 1): Promise<number[]> {
    const query = new URLSearchParams({
      campaign_token: campaignId,
      campaign_id: "NDA_20261122_00001",
      delivered_quantity: delivered ? "1" : "0",
      total_quantity: "1",
    });
    return this.call(`${notifyUrl ?? ""}?${query.toString()}`, times);
  }

  async call(address: string, times = 1): Promise<number[]> {
    const statuses: number[] = [];
    for (let i = 0; i < times; i += 1) {
      const response = await fetch(this.via(address));
      await response.text();
      statuses.push(response.status);
    }
    return statuses;
  }

  protected override async handle(incoming: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { method, path, text } = await readRequest(incoming);
    const body = (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
    this.requests.push({ method, path, body });
    if (method === "GET" && path.startsWith("/v1/audios/")) return this.#list(path, response);
    if (method === "POST" && path === "/v1/campaign/send") return await this.#send(body, response);
    json(response, 404, { code: 404, message: "Not Found" });
  }

  #list(path: string, response: http.ServerResponse): void {
    if (path !== `/v1/audios/${this.apiKey}`) return json(response, 200, WRONG_KEY);
    const created_at = { date: "2026-04-16 13:26:46.000000", timezone_type: 3, timezone: "Europe/Paris" };
    const datas = this.recordings.map((each) => ({ ...each, size: "104.5Ko", duration: "0:07", created_at }));
    json(response, 200, { nb_datas: datas.length, datas });
  }

  async #send(body: Record<string, unknown>, response: http.ServerResponse): Promise<void> {
    const now = performance.now();
    const { phoneNumbers, tokenAudio, sender, notifyUrl } = body as Record<string, string>;
    const recent = this.asked.filter((at) => now - at < 60_000).length;
    this.asked.push(now);
    if (recent >= this.#perMinute) return json(response, 429, { message: "You exceeded the rate limit" });
    if (body["apiKey"] !== this.apiKey) return json(response, 200, WRONG_KEY);
    const answer = this.answerTo(phoneNumbers ?? "");
    const refused = [
      ...(this.recordings.some(({ token }) => token === tokenAudio) ? [] : ["tokenAudio"]),
      ...(/^[^@]+@[^@]+$/.test(String(body["emailForNotification"])) ? [] : ["emailForNotification"]),
    ];
    if (refused.length > 0) {
      const errors = refused.map((field) => ({ elementId: `children[${field}].data`, message: "Non valide" }));
      return json(response, 200, { success: false, code: 9, errors });
    }
    if (answer.kind === "answer") return json(response, answer.status, answer.body, answer.headers);
    const accept = async () => {
      const campaignId = randomUUID().slice(0, 10);
      const [numbers, token] = [phoneNumbers ?? "", tokenAudio ?? ""];
      const campaign = { campaignId, phoneNumbers: numbers, tokenAudio: token, sender, notifyUrl, at: now };
      this.campaigns.push(campaign);
      this.onAccept(campaign);
      const detail = { "33": { nbSms: 1, cost_unity: 0.15, cost: 0.15 } };
      const audioFile = { filename: "offre.wav", size: "135.8Ko" };
      return { success: true, campaignId, cost: 0.15, currency: "EUR", nbSms: 1, audioFile, detail };
    };
    await answerWith(answer, response, { status: 200, accept });
  }
}

const WRONG_KEY = { success: false, code: 10, message: "Clé API incorrecte" };

export async function startFakeVoicePartner(options: Options = {}): Promise<FakeVoicePartner> {
  const fake = new FakeVoicePartner(options);
  await fake.listen();
  return fake;
}
