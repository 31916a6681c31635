import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { BufferJSON, Browsers } from "@whiskeysockets/baileys";
import { expect, test } from "vitest";
import type { DisconnectCode } from "../fakes/whatsapp/disconnects.ts";
import { PlainClient, STATUS, connectPaired, plainAuth } from "../fakes/whatsapp/plain-client.ts";
import { type FakeWhatsApp, startFakeWhatsApp } from "../fakes/whatsapp/server.ts";

const SESSION = "+33600000001";
const ANNA = "+33611111111";
const BEN = "+33622222222";

const jid = (phone: string) => `${phone.slice(1)}@s.whatsapp.net`;
const messageId = () => `3EB0${randomBytes(9).toString("hex").toUpperCase()}`;

/** A phone that a device asks to be linked with, up to its first login. */
async function scanned(fake: FakeWhatsApp, phone: string) {
  const auth = plainAuth();
  await using unlinked = new PlainClient(fake, auth);
  await expect.poll(() => unlinked.qrs[0]).toBeDefined();
  await fake.scanQr(phone, unlinked.qrs[0] ?? "");
  return { auth, code: await unlinked.closed };
}

test("a device that was linked before logs in and its text arrives decrypted and acknowledged", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  const id = messageId();
  const answer = await client.sendText(jid(ANNA), "Bonjour, votre annonce 🚗 est-elle là ?", id);
  expect(answer).toMatchObject({ tag: "ack", attrs: { class: "message", id, from: jid(ANNA) } });
  expect(answer?.attrs).not.toHaveProperty("error");
  expect(fake.messages).toMatchObject([
    { id, from: SESSION, to: ANNA, text: "Bonjour, votre annonce 🚗 est-elle là ?", relays: 1, undecryptable: 0 },
  ]);
  expect(fake.logins(SESSION)).toBe(1);
  expect(fake.connected(SESSION)).toBe(1);
  expect(fake.faults).toEqual([]);
  expect(fake.unknownIqs).toEqual([]);
});

test("a device that nobody linked is refused with 401, as is one with the key of another", async () => {
  await using fake = await startFakeWhatsApp();
  await using elsewhere = await startFakeWhatsApp();
  const auth = plainAuth(elsewhere.pairedCreds(SESSION));
  await using stranger = new PlainClient(fake, auth);
  expect(await stranger.closed).toBe(401);
  fake.pairedCreds(SESSION);
  await using impostor = new PlainClient(fake, auth);
  expect(await impostor.closed).toBe(401);
  expect(fake.logins(SESSION)).toBe(0);
});

test("a scanned QR links the device: 515, a login, and events at once", async () => {
  await using fake = await startFakeWhatsApp();
  const { auth, code } = await scanned(fake, SESSION);
  expect(code).toBe(515);
  expect(fake.paired(SESSION)).toBe(true);
  expect(auth.creds.me?.id).toBe("33600000001:1@s.whatsapp.net");
  await using client = new PlainClient(fake, auth);
  await client.opened;
  const id = await fake.reply(ANNA, SESSION, "first words");
  // Well under the 20 s for which Baileys waits for a history that does not come.
  await expect.poll(() => client.textOf(id), { timeout: 10_000 }).toBe("first words");
  await expect.poll(() => auth.creds.me?.name).toBe("Fake Phone");
  await client.sendText(jid(ANNA), "from a new device", messageId());
  expect(fake.messages).toMatchObject([{ text: "from a new device" }]);
  expect(fake.faults).toEqual([]);
});

test("a pairing that is interrupted by companion_reg_refresh fails, and succeeds with a new secret", async () => {
  await using fake = await startFakeWhatsApp();
  const auth = plainAuth();
  await using client = new PlainClient(fake, auth);
  await expect.poll(() => client.qrs[0]).toBeDefined();
  const qr = client.qrs[0] ?? "";
  const refreshed = once(client.sock.ws, "CB:notification,type:companion_reg_refresh");
  fake.interruptPairing();
  await expect(fake.scanQr(SESSION, qr)).rejects.toThrow("retired");
  await refreshed;
  await expect(fake.scanQr(SESSION, qr)).rejects.toThrow("retired");
  expect(fake.paired(SESSION)).toBe(false);
  const secret = randomBytes(32).toString("base64");
  client.sock.ev.emit("creds.update", { advSecretKey: secret });
  await fake.scanQr(SESSION, qr.split(",").with(3, secret).join(","));
  expect(await client.closed).toBe(515);
  expect(fake.paired(SESSION)).toBe(true);
});

test("a QR of a client that is gone cannot be scanned", async () => {
  await using fake = await startFakeWhatsApp();
  const client = new PlainClient(fake);
  await expect.poll(() => client.qrs[0]).toBeDefined();
  await client.sock.end(undefined);
  await fake.waitFor(() => fake.clients === 0);
  await expect(fake.scanQr(SESSION, client.qrs[0] ?? "")).rejects.toThrow("expired");
});

test("the right code links the device, a wrong one does not", async () => {
  await using fake = await startFakeWhatsApp();
  const attempt = async (type: (code: string) => Promise<void>) => {
    const auth = plainAuth();
    await using client = new PlainClient(fake, auth, { browser: Browsers.windows("Chrome") });
    await expect.poll(() => client.qrs[0]).toBeDefined();
    const code = await client.sock.requestPairingCode(SESSION.slice(1));
    await fake.waitFor(() => fake.codeAsked(SESSION));
    await type(code);
    return { auth, code: await client.closed };
  };
  const wrong = attempt(async () => {
    await expect(fake.enterCode(SESSION, "AAAA-AAAA")).rejects.toThrow("wrong code");
    throw new Error("stop here");
  });
  await expect(wrong).rejects.toThrow("stop here");
  expect(fake.paired(SESSION)).toBe(false);
  const { auth, code } = await attempt((code) => fake.enterCode(SESSION, `${code.slice(0, 4)}-${code.slice(4)}`));
  expect(code).toBe(515);
  expect(auth.creds.registered).toBe(true);
  await using client = new PlainClient(fake, auth);
  await client.opened;
  expect(fake.logins(SESSION)).toBe(1);
  expect(fake.faults).toEqual([]);
});

test("receipts of the recipient arrive as status updates, on demand or of themselves", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  const id = messageId();
  await client.sendText(jid(ANNA), "one", id);
  expect(client.statusesOf(id)).toEqual([]);
  fake.receipt(id, "delivered");
  await expect.poll(() => client.statusesOf(id)).toEqual([STATUS.DELIVERY_ACK]);
  fake.receipt(id, "read");
  await expect.poll(() => client.statusesOf(id)).toEqual([STATUS.DELIVERY_ACK, STATUS.READ]);
  const byLid = messageId();
  await client.sendText(jid(ANNA), "two", byLid);
  fake.receipt(byLid, "read", { byLid: true });
  await expect.poll(() => client.updates.find(({ key }) => key.id === byLid)?.key.remoteJid).toMatch(/@lid$/);
  fake.autoReceipts({ kind: "delivered" });
  const delivered = messageId();
  await client.sendText(jid(ANNA), "three", delivered);
  await expect.poll(() => client.statusesOf(delivered)).toEqual([STATUS.DELIVERY_ACK]);
  fake.autoReceipts({ kind: "read", delayMs: 10 });
  const read = messageId();
  await client.sendText(jid(ANNA), "four", read);
  await expect.poll(() => client.statusesOf(read).at(-1)).toBe(STATUS.READ);
});

test("messages of others arrive with their text, by phone number and by LID, with what they quote", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  const sent = messageId();
  await client.sendText(jid(ANNA), "interested?", sent);
  const known = await fake.reply(ANNA, SESSION, "oui", { quotedId: sent, name: "Anna" });
  const cold = await fake.reply(BEN, SESSION, "STOP", { byLid: true });
  await expect.poll(() => [client.textOf(known), client.textOf(cold)]).toEqual(["oui", "STOP"]);
  const [first, second] = client.received.map(({ message }) => message);
  expect(first).toMatchObject({
    pushName: "Anna",
    key: { fromMe: false, remoteJid: jid(ANNA), remoteJidAlt: expect.stringMatching(/@lid$/) },
    message: { extendedTextMessage: { contextInfo: { stanzaId: sent } } },
  });
  expect(second?.key).toMatchObject({ remoteJid: expect.stringMatching(/@lid$/), remoteJidAlt: jid(BEN) });
  expect(client.received.map(({ type }) => type)).toEqual(["notify", "notify"]);
  await fake.waitFor(() => fake.receiptsFromClient.length === 2);
  expect(fake.receiptsFromClient).toMatchObject([{ id: known }, { id: cold }]);
  // The answer to a LID arrives at the same person.
  await client.sendText(second?.key.remoteJid ?? "", "noted", messageId());
  expect(fake.messages.at(-1)).toMatchObject({ to: BEN, text: "noted" });
});

test("a message that cannot be decrypted is asked for again and then read", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION, { retryRequestDelayMs: 1 });
  const id = await fake.undecryptable(ANNA, SESSION, "second try");
  await expect.poll(() => client.textOf(id)).toBe("second try");
  expect(fake.receiptsFromClient).toContainEqual({ phone: SESSION, to: jid(ANNA), id, type: "retry" });
  const lost = await fake.undecryptable(ANNA, SESSION);
  await fake.waitFor(() => fake.acksFromClient.some(({ id, error }) => id === lost && error === "500"));
  expect(fake.receiptsFromClient.filter((receipt) => receipt.id === lost)).toMatchObject([{ type: "retry" }]);
  expect(client.textOf(lost)).toBeUndefined();
});

test("a recipient that asks again is sent the message again, and shows it once", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  const id = messageId();
  await client.sendText(jid(ANNA), "hello", id);
  fake.receipt(id, "retry");
  await fake.waitFor(() => fake.messages[0]?.relays === 2);
  expect(fake.messages).toMatchObject([{ id, text: "hello", relays: 2, undecryptable: 0 }]);
  expect(fake.stanzas).toBe(2);
});

test("a message under a counter that was used already is asked for again and then read", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  await client.sendText(jid(ANNA), "one", messageId());
  const lose = client.auth.keys.snapshot();
  await client.sendText(jid(ANNA), "two", messageId());
  lose();
  await client.sendText(jid(ANNA), "three", messageId());
  await fake.waitForMessage(({ text }) => text === "three");
  expect(fake.messages).toMatchObject([{ text: "one" }, { text: "two" }, { relays: 2, undecryptable: 1 }]);
});

test("a refusal shows in the answer, silence as no answer, a loss as nothing taken", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  fake.onSend({ to: ANNA, times: 1, outcome: { error: 463 } });
  fake.onSend({ to: ANNA, times: 1, outcome: "silent" });
  fake.onSend({ to: ANNA, times: 1, outcome: "drop" });
  const [refused, silent, dropped, taken] = [messageId(), messageId(), messageId(), messageId()];
  expect(await client.sendText(jid(ANNA), "a", refused)).toMatchObject({ tag: "ack", attrs: { error: "463" } });
  await expect.poll(() => client.statusesOf(refused)).toEqual([STATUS.ERROR]);
  expect(await client.sendText(jid(ANNA), "b", silent, 300)).toBeUndefined();
  expect(await client.sendText(jid(ANNA), "c", dropped, 300)).toBeUndefined();
  expect((await client.sendText(jid(ANNA), "d", taken))?.attrs).not.toHaveProperty("error");
  expect(fake.messages.map(({ id }) => id)).toEqual([silent, taken]);
  expect(fake.stanzas).toBe(4);
});

test("a connection that is lost around a message leaves it taken or not taken", async () => {
  await using fake = await startFakeWhatsApp();
  const auth = plainAuth(fake.pairedCreds(SESSION));
  const [before, after] = [messageId(), messageId()];
  fake.onSend({ times: 1, outcome: "disconnect-before" });
  fake.onSend({ times: 1, outcome: "accept-then-disconnect" });
  for (const id of [before, after]) {
    await using client = new PlainClient(fake, auth);
    await client.opened;
    expect(await client.sendText(jid(ANNA), "x", id)).toBeUndefined();
    expect(await client.closed).toBe(428);
  }
  expect(fake.messages.map(({ id }) => id)).toEqual([after]);
  await using client = new PlainClient(fake, auth);
  await client.opened;
  // Sent again with its id, the recipient still shows it once.
  expect(await client.sendText(jid(ANNA), "x", after)).toMatchObject({ tag: "ack" });
  expect(fake.messages).toMatchObject([{ id: after, text: "x", relays: 2 }]);
});

test("each end of a connection has its status code", async () => {
  await using fake = await startFakeWhatsApp();
  const codes: DisconnectCode[] = [401, 402, 403, 405, 406, 408, 411, 428, 440, 500, 503, 515];
  const seen = codes.map(async (code) => {
    const phone = `+33600000${code}`;
    await using client = await connectPaired(fake, phone, { keepAliveIntervalMs: 100 });
    fake.disconnect(phone, code);
    return await client.closed;
  });
  expect(await Promise.all(seen)).toEqual(codes);
  expect(codes.filter((code) => !fake.paired(`+33600000${code}`))).toEqual([401]);
  expect(fake.faults).toEqual([]);
});

test("a second socket of a session takes the place of the first, which ends with 440", async () => {
  await using fake = await startFakeWhatsApp();
  await using first = await connectPaired(fake, SESSION);
  await using second = new PlainClient(fake, first.auth);
  expect(await first.closed).toBe(440);
  await second.opened;
  await fake.waitFor(() => fake.connected(SESSION) === 1);
  expect(await second.sendText(jid(ANNA), "still here", messageId())).toMatchObject({ tag: "ack" });
  expect(fake.logins(SESSION)).toBe(2);
});

test("what a session missed comes at its next login, once", async () => {
  await using fake = await startFakeWhatsApp();
  const auth = plainAuth(fake.pairedCreds(SESSION));
  const sent = messageId();
  {
    await using client = new PlainClient(fake, auth);
    await client.opened;
    await client.sendText(jid(ANNA), "are you there?", sent);
  }
  await fake.waitFor(() => fake.connected(SESSION) === 0);
  const missed = await fake.reply(ANNA, SESSION, "I am");
  fake.receipt(sent, "read");
  {
    await using client = new PlainClient(fake, auth);
    await expect.poll(() => client.textOf(missed)).toBe("I am");
    await expect.poll(() => client.statusesOf(sent)).toEqual([STATUS.READ]);
    // Not `notify`, as all that was sent while the client was away.
    expect(client.received).toMatchObject([{ type: "append" }]);
    await fake.waitFor(() => fake.undelivered(SESSION) === 0);
  }
  await using client = new PlainClient(fake, auth);
  await client.opened;
  const later = await fake.reply(ANNA, SESSION, "again");
  await expect.poll(() => client.textOf(later)).toBe("again");
  expect(client.received).toHaveLength(1);
});

test("a login is refused as often as it was asked for, an old client as long as it is old", async () => {
  await using fake = await startFakeWhatsApp();
  const auth = plainAuth(fake.pairedCreds(SESSION));
  fake.refuseLogin(SESSION, 403);
  await using refused = new PlainClient(fake, auth);
  expect(await refused.closed).toBe(403);
  fake.requireVersion([2, 3000, 2_000_000_000]);
  await using old = new PlainClient(fake, auth);
  expect(await old.closed).toBe(405);
  await using current = new PlainClient(fake, auth, { version: [2, 3000, 2_000_000_001] });
  await current.opened;
  expect(fake.logins(SESSION)).toBe(1);
});

test("an outage refuses new connections and leaves the open ones", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  fake.outage(503);
  await using refused = new PlainClient(fake);
  // Baileys takes the event from `ws` and does nothing with it: without help this client waits for ever.
  const [, response] = (await once(refused.sock.ws, "unexpected-response")) as [unknown, { statusCode: number }];
  expect(response.statusCode).toBe(503);
  fake.outage("reset");
  await using broken = new PlainClient(fake);
  expect(await broken.closed).toBe(408);
  expect(await client.sendText(jid(ANNA), "still here", messageId())).toMatchObject({ tag: "ack" });
  fake.outage(undefined);
  await using back = new PlainClient(fake, client.auth);
  await back.opened;
});

test("numbers are on WhatsApp, or not, or under another number", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  fake.notOnWhatsApp(BEN);
  fake.alias("+5511987654321", "+551187654321");
  // Baileys leaves out who is not.
  expect(await client.sock.onWhatsApp(ANNA, BEN, "+5511987654321")).toEqual([
    { jid: jid(ANNA), exists: true },
    { jid: "551187654321@s.whatsapp.net", exists: true },
  ]);
  expect(await client.sendText(jid(BEN), "nobody reads this", messageId())).toMatchObject({ tag: "ack" });
  expect(fake.messages).toEqual([]);
  expect(fake.stanzas).toBe(1);
});

test("an image that is sent can be fetched and decrypted to the same bytes", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  const image = randomBytes(70_000);
  const content = { image, caption: "the car", jpegThumbnail: "", mimetype: "image/jpeg" };
  await client.sock.sendMessage(jid(ANNA), content);
  const { message, text } = await fake.waitForMessage(({ to }) => to === ANNA);
  expect(text).toBe("the car");
  expect((await fake.media.of(message ?? {})).equals(image)).toBe(true);
  const sealed = fake.media.raw(message?.imageMessage?.directPath ?? "");
  expect(sealed?.includes(image.subarray(0, 32))).toBe(false);
  fake.media.failNext = 5;
  await expect(client.sock.sendMessage(jid(ANNA), content)).rejects.toThrow("Media upload failed");
  expect(fake.messages).toHaveLength(1);
});

test("composing is seen by the recipient, a restriction by the session, and a logout ends the pairing", async () => {
  await using fake = await startFakeWhatsApp();
  await using client = await connectPaired(fake, SESSION);
  await client.sock.sendPresenceUpdate("composing", jid(ANNA));
  await fake.waitFor(() => fake.chatStates.length === 1);
  expect(fake.chatStates).toMatchObject([{ from: SESSION, to: ANNA, state: "composing" }]);
  expect((await client.sock.fetchAccountReachoutTimelock()).isActive).toBe(false);
  fake.restrict(SESSION, { enforcementType: "DEFAULT", until: new Date("2030-01-01T00:00:00Z") });
  await expect
    .poll(() => client.connectionUpdates.map(({ reachoutTimeLock }) => reachoutTimeLock).findLast(Boolean))
    .toMatchObject({ isActive: true, timeEnforcementEnds: new Date("2030-01-01T00:00:00Z") });
  expect((await client.sock.fetchAccountReachoutTimelock()).isActive).toBe(true);
  await client.sock.logout();
  expect(await client.closed).toBe(401);
  await fake.waitFor(() => !fake.paired(SESSION));
});

test(
  "several sessions send a thousand messages and none is lost, doubled or mixed up",
  { timeout: 120_000 },
  async () => {
    await using fake = await startFakeWhatsApp();
    const phones = [0, 1, 2, 3].map((digit) => `+3361000000${digit}`);
    const expected = new Map<string, string>();
    const sending = phones.map(async (phone) => {
      await using client = await connectPaired(fake, phone);
      for (let at = 0; at < 250; at++) {
        const [id, text, to] = [messageId(), `${phone} ${at}`, `+336${String(at % 100).padStart(8, "0")}`];
        expected.set(id, `${phone} ${to} ${text}`);
        await client.sock.sendMessage(jid(to), { text }, { messageId: id });
      }
      await fake.waitFor(() => fake.messages.filter(({ from }) => from === phone).length === 250);
    });
    await Promise.all(sending);
    const got = fake.messages.map(({ id, from, to, text }) => [id, `${from} ${to} ${text}`] as const);
    expect(got).toHaveLength(1_000);
    expect(new Map(got)).toEqual(expected);
    expect(fake.faults).toEqual([]);
  },
);

test("in a process of its own the fake is driven over HTTP", async () => {
  const cli = fileURLToPath(new URL("../fakes/whatsapp/cli.ts", import.meta.url));
  const child = spawn(process.execPath, [cli, "--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  await using _ = { [Symbol.asyncDispose]: async () => void (child.kill() && (await once(child, "exit"))) };
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const { url, control, media } = JSON.parse(line) as { url: string; control: string; media: { ca: string } };
  const post = async (path: string, body: object) => {
    const response = await fetch(`${control}${path}`, { method: "POST", body: JSON.stringify(body) });
    return (await response.json()) as Record<string, string>;
  };
  const { creds } = await post("/pair", { phone: SESSION });
  const auth = plainAuth(JSON.parse(creds ?? "", BufferJSON.reviver));
  await using client = new PlainClient({ url, media }, auth);
  await client.opened;
  await post("/rules", { rules: [{ to: BEN, outcome: { error: 463 } }] });
  expect(await client.sendText(jid(BEN), "no", messageId())).toMatchObject({ attrs: { error: "463" } });
  const id = messageId();
  await client.sendText(jid(ANNA), "over there", id);
  const listed = await fetch(`${control}/messages`).then((response) => response.json());
  expect(listed).toMatchObject({ count: 1, messages: [{ id, from: SESSION, to: ANNA, text: "over there" }] });
  const reply = await post("/reply", { from: ANNA, to: SESSION, text: "over here", options: { byLid: true } });
  await expect.poll(() => client.textOf(reply["id"] ?? "")).toBe("over here");
  expect(await post("/disconnect", { phone: SESSION, code: 503 })).toEqual({ ok: true });
  expect(await client.closed).toBe(503);
  expect(await fetch(`${control}/state`).then((response) => response.json())).toMatchObject({
    url,
    sessions: [{ phone: SESSION, paired: true, logins: 1 }],
    messages: 1,
    stanzas: 2,
    faults: [],
  });
  // It knows a moment later than the client that the connection is gone.
  const again = () => post("/disconnect", { phone: SESSION, code: 503 });
  await expect.poll(again).toMatchObject({ error: /not connected/ });
});
