import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { createClient, type EventBody } from "../../src/client.ts";
import type { Random } from "./random.ts";

/** A webhook as it arrived. */
export interface Told {
  accountId: string;
  event: EventBody;
  /** Whether it was answered with a 200; one whose answer was lost was taken as well. */
  taken: boolean;
}

/** How an endpoint answers, with its share. The rest are taken. */
const TROUBLE = [
  ["refuse", 0.06],
  ["hang", 0.01],
  ["take and break off", 0.03],
] as const;

/**
 * Where accounts are told what happens: in the harness' own process, which nobody kills. Takes most, refuses some, lets some hang
 * and takes some without the sender ever knowing, until it is told to be well.
 */
export class Endpoints implements AsyncDisposable {
  /** In the order in which they arrived. */
  readonly told: Told[] = [];
  /** What was not signed as it has to be. */
  readonly faults: string[] = [];
  isWell = false;
  readonly #random: Random;
  readonly #server = createServer((request, response) => {
    this.#take(request, response).catch(() => response.destroy());
  });
  readonly #secrets = new Map<string, Webhook>();

  private constructor(random: Random) {
    this.#random = random;
  }

  static async open(random: Random): Promise<Endpoints> {
    const endpoints = new Endpoints(random);
    endpoints.#server.listen(0, "127.0.0.1");
    await once(endpoints.#server, "listening");
    return endpoints;
  }

  get accounts(): string[] {
    return [...this.#secrets.keys()];
  }

  /** Has an account told of its messages. */
  async register(baseUrl: string, apiSecret: string, accountId: string): Promise<void> {
    const { port } = this.#server.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/${accountId}`;
    const client = createClient({ baseUrl, apiSecret });
    const made = await client.createWebhookEndpoint({ accountId, url, events: ["message.*"] });
    if (!made.ok) throw made.error;
    this.#secrets.set(accountId, new Webhook(made.value.secret));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const accountId = (request.url ?? "/").slice(1);
    let body = "";
    for await (const chunk of request) body += String(chunk);
    let event: EventBody;
    try {
      const headers = request.headers as Record<string, string>;
      event = this.#secrets.get(accountId)?.verify(body, headers) as EventBody;
    } catch (error) {
      this.faults.push(`a webhook of ${accountId} was not signed: ${String(error)}`);
      return void response.writeHead(401).end();
    }
    const how = this.#how();
    this.told.push({ accountId, event, taken: how === "take" || how === "take and break off" });
    if (how === "hang") return;
    if (how === "take and break off") return void response.destroy();
    response.writeHead(how === "refuse" ? 500 : 200).end();
  }

  #how(): (typeof TROUBLE)[number][0] | "take" {
    let drawn = this.isWell ? 1 : this.#random.unit();
    for (const [how, share] of TROUBLE) {
      if (drawn < share) return how;
      drawn -= share;
    }
    return "take";
  }
}
