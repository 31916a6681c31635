import { expect } from "vitest";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import { messagesOf, phone, run } from "./hunts.ts";
import { accept, channelsWithSms, scriptedProvider, type Script, type ScriptedProvider } from "./scripted.ts";
import { contact, openWorld, SECRET, type Answer, type TestService, type World } from "./service.ts";

export const LIST = "/api/suppressions";
export const query = (filter: Record<string, string>): string => `?${new URLSearchParams(filter).toString()}`;

/** A service whose SMS do as the test says, and people who write back. */
export interface SuppressionScene extends AsyncDisposable {
  readonly world: World;
  readonly service: TestService;
  readonly provider: ScriptedProvider;
  /** What becomes of an SMS; at first it is accepted. */
  script: Script;
  nextPhone(): string;
  call(method: string, path: string, body?: string, type?: string): Promise<Answer>;
  suppress(entry: object): Promise<Answer>;
  lift(filter: Record<string, string>): Promise<Answer>;
  listed(filter: Record<string, string>): Promise<Answer["body"]>;
  /** What becomes of a message to that number now: its reason, or its status. */
  sending(to: string, accountId: string): Promise<string>;
  /** Somebody new whom the account has written to. */
  contacted(accountId: string): Promise<string>;
  reply(from: string, text: string, more?: { to?: string; at?: number }): Promise<{ firstStop: boolean }>;
}

export async function openSuppressionScene(): Promise<SuppressionScene> {
  const world = await openWorld();
  const provider = scriptedProvider((request, signal) => scene.script(request, signal));
  let inbound: ProviderDeps["inbound"];
  const channels = channelsWithSms((port) => {
    inbound = port;
    return provider;
  });
  const service = await world.start({}, {}, channels);
  let last = 0;

  const scene: SuppressionScene = {
    world,
    service,
    provider,
    script: accept,
    nextPhone: () => phone((last += 1)),
    async call(method, path, body, type = "text/csv") {
      const response = await fetch(service.url + path, {
        method,
        headers: { authorization: `Bearer ${SECRET}`, ...(body === undefined ? {} : { "content-type": type }) },
        ...(body === undefined ? {} : { body }),
      });
      const text = await response.text();
      const isJson = response.headers.get("content-type")?.includes("json");
      return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
    },
    suppress: (entry) => service.post(LIST, entry),
    lift: (filter) => scene.call("DELETE", LIST + query(filter)),
    listed: async (filter) => (await service.get(LIST + query(filter))).body.suppressions,
    async sending(to, accountId) {
      const { huntId } = await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
      const [{ status, reason }] = await messagesOf(service, huntId);
      return reason ?? status;
    },
    async contacted(accountId) {
      const to = scene.nextPhone();
      scene.script = accept;
      expect(await scene.sending(to, accountId)).toBe("sent");
      return to;
    },
    reply: (from, text, more = {}) => inbound.reply({ provider: "scripted", from, text, at: Date.now(), ...more }),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
  return scene;
}
