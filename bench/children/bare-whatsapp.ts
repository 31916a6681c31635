import {
  type AuthenticationCreds,
  BufferJSON,
  makeCacheableSignalKeyStore,
  type UserFacingSocketConfig,
  useMultiFileAuthState,
} from "@whiskeysockets/baileys";
import { plainAuth, PlainClient } from "../../test/fakes/whatsapp/plain-client.ts";
import { silentLogger } from "../../test/fakes/whatsapp/quiet.ts";
import { serveTask } from "../child.ts";
import { phoneOf, TEXT } from "../hunts.ts";

/** Baileys alone: `sendMessage` to each of N people, and once more to each. */
export interface BareWhatsAppTask {
  url: string;
  creds: string;
  n: number;
  concurrency: number;
  /** Where its keys go, as Baileys' documentation shows it; undefined: they stay in memory. */
  directory?: string | undefined;
}

/** Until the server has confirmed all of them. */
interface Sent {
  seconds: number;
  cpuSeconds: number;
}

export interface BareWhatsAppResult {
  first: Sent;
  again: Sent;
}

await serveTask<BareWhatsAppTask>(async ({ url, creds, n, concurrency, directory }) => {
  const own = JSON.parse(creds, BufferJSON.reviver) as AuthenticationCreds;
  const client = directory === undefined ? connect(url, own) : await connectWithFiles(url, own, directory);
  await client.opened;
  let confirmed = 0;
  let done = Promise.withResolvers<void>();
  client.sock.ws.on("CB:ack,class:message", ({ attrs }: { attrs: Record<string, string> }) => {
    if (attrs["error"] !== undefined) return done.reject(new Error("a message was refused"));
    if (++confirmed % n === 0) done.resolve();
  });
  const sendAll = async (): Promise<Sent> => {
    done = Promise.withResolvers();
    const [since, cpu] = [performance.now(), process.cpuUsage()];
    let next = 0;
    const sender = async (): Promise<void> => {
      for (let i = next++; i < n; i = next++) {
        await client.sock.sendMessage(`${phoneOf(i).slice(1)}@s.whatsapp.net`, { text: TEXT });
      }
    };
    await Promise.all(Array.from({ length: concurrency }, sender));
    await done.promise;
    const { user, system } = process.cpuUsage(cpu);
    return { seconds: (performance.now() - since) / 1000, cpuSeconds: (user + system) / 1e6 };
  };
  return async (): Promise<BareWhatsAppResult> => ({ first: await sendAll(), again: await sendAll() });
});

function connect(url: string, creds: AuthenticationCreds, config?: Partial<UserFacingSocketConfig>): PlainClient {
  return new PlainClient({ url, media: { ca: "" } }, plainAuth(creds), config);
}

async function connectWithFiles(url: string, creds: AuthenticationCreds, directory: string): Promise<PlainClient> {
  const { state, saveCreds } = await useMultiFileAuthState(directory);
  Object.assign(state.creds, creds);
  const auth = { creds: state.creds, keys: makeCacheableSignalKeyStore(state.keys, silentLogger) };
  const client = connect(url, state.creds, { auth });
  client.sock.ev.on("creds.update", () => void saveCreds());
  return client;
}
