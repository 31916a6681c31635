import { BufferJSON, type AuthenticationCreds } from "@whiskeysockets/baileys";
import { plainAuth, PlainClient } from "../../test/fakes/whatsapp/plain-client.ts";
import { serveTask } from "../child.ts";
import { phoneOf, TEXT } from "../hunts.ts";

/** Baileys alone, its keys in memory: `sendMessage` to each of N people, and once more to each. */
export interface BareWhatsAppTask {
  url: string;
  creds: string;
  n: number;
  concurrency: number;
}

/** Seconds until the server has confirmed all of them. */
export interface BareWhatsAppResult {
  firstSeconds: number;
  againSeconds: number;
}

await serveTask<BareWhatsAppTask>(async ({ url, creds, n, concurrency }) => {
  const auth = plainAuth(JSON.parse(creds, BufferJSON.reviver) as AuthenticationCreds);
  const client = new PlainClient({ url, media: { ca: "" } }, auth);
  await client.opened;
  const sendAll = async (round: string): Promise<number> => {
    const since = performance.now();
    let next = 0;
    const sender = async (): Promise<void> => {
      for (let i = next++; i < n; i = next++) {
        const jid = `${phoneOf(i).slice(1)}@s.whatsapp.net`;
        const answer = await client.sendText(jid, TEXT, `3EB0${round}${String(i).padStart(16, "0")}`);
        if (!answer) throw new Error("a message was not confirmed");
      }
    };
    await Promise.all(Array.from({ length: concurrency }, sender));
    return (performance.now() - since) / 1000;
  };
  return async () => ({ firstSeconds: await sendAll("A1"), againSeconds: await sendAll("B2") });
});
