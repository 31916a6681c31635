import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import { messageOf, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import {
  accept,
  refusal,
  channelsWithSms,
  scriptedProvider,
  type Script,
  type ScriptedProvider,
} from "../helpers/scripted.ts";
import { contact, openWorld, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
let inbound: ProviderDeps["inbound"];
let script: Script = accept;
let last = 0;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => script(request, signal));
  const channels = channelsWithSms((port) => {
    inbound = port;
    return provider;
  });
  service = await world.start({}, {}, channels);
});
afterAll(() => world[Symbol.asyncDispose]());

const LIST = "/api/suppressions";
const nextPhone = (): string => phone((last += 1));
const query = (filter: Record<string, string>): string => `?${new URLSearchParams(filter).toString()}`;

async function call(method: string, path: string, body?: string, type = "text/csv"): Promise<Answer> {
  const response = await fetch(service.url + path, {
    method,
    headers: { authorization: `Bearer ${SECRET}`, ...(body === undefined ? {} : { "content-type": type }) },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json");
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}
const suppress = (entry: object): Promise<Answer> => service.post(LIST, entry);
const lift = (filter: Record<string, string>): Promise<Answer> => call("DELETE", LIST + query(filter));
const listed = async (filter: Record<string, string>) => (await service.get(LIST + query(filter))).body.suppressions;

/** What becomes of a message to that number now: its reason, or its status. */
async function sending(to: string, accountId: string): Promise<string> {
  const { huntId } = await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
  const [{ status, reason }] = await messagesOf(service, huntId);
  return reason ?? status;
}

async function contacted(accountId: string): Promise<string> {
  const to = nextPhone();
  script = accept;
  expect(await sending(to, accountId)).toBe("sent");
  return to;
}

const reply = (from: string, text: string, more: { to?: string; at?: number } = {}) =>
  inbound.reply({ provider: "scripted", from, text, at: Date.now(), ...more });

describe("the list", () => {
  test("a number of an account → is on its list once, and is not contacted by that account", async () => {
    const [accountId, to] = [await world.account(), nextPhone()];
    const first = await suppress({ phone: `0${to.slice(3)}`, accountId, reason: "asked by e-mail" });
    expect(first).toMatchObject({ status: 200 });
    expect(first.body).toEqual({
      accountId,
      phone: to,
      source: "manual",
      reason: "asked by e-mail",
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect((await suppress({ phone: to, accountId })).body).toEqual(first.body);
    expect(await listed({ accountId })).toEqual([first.body]);
    expect(await sending(to, accountId)).toBe("suppressed");
    expect(await sending(to, await world.account())).toBe("sent");
  });

  test("a number without an account → is contacted by nobody", async () => {
    const to = nextPhone();
    expect((await suppress({ phone: to })).body).toMatchObject({ accountId: null });
    expect(await sending(to, await world.account())).toBe("suppressed");
    expect(await listed({ everybody: "true", phone: to })).toHaveLength(1);
    const accountId = await world.account();
    expect(await listed({ accountId, phone: to })).toMatchObject([{ accountId: null, phone: to }]);
    expect(await listed({ accountId })).toEqual([]);
    await suppress({ phone: to, accountId: await world.account() });
    expect(await listed({ accountId, phone: to })).toHaveLength(1);
  });

  test("a number that is queued already → is not called after the answer, and its credit comes back", async () => {
    const [accountId, to] = [await world.account(), nextPhone()];
    await world.credits(accountId, "sms", 1);
    await world.queue("sms").pause();
    const { huntId } = await submit(service, { accountId, contacts: [contact({ recipientPhone: to })] });
    await expect.poll(async () => (await messagesOf(service, huntId))[0]?.status).toBe("queued");
    await suppress({ phone: to, accountId });
    await world.queue("sms").resume();
    await expect.poll(async () => (await messagesOf(service, huntId))[0]?.reason).toBe("suppressed");
    expect(provider.callsTo(to)).toBe(0);
    const { rows } = await world.sql.query("select balance, reserved, spent from credits where account_id = $1", [
      accountId,
    ]);
    expect(rows).toEqual([{ balance: "1", reserved: "0", spent: "0" }]);
  });

  test("a number that is taken off → is contacted again; one that is not there → 404", async () => {
    const [accountId, to] = [await world.account(), nextPhone()];
    await suppress({ phone: to, accountId });
    expect(await lift({ phone: to })).toMatchObject({ status: 404, body: { code: "not_found" } });
    expect(await lift({ phone: to, accountId })).toMatchObject({ status: 200, body: { phone: to, accountId } });
    expect(await lift({ phone: to, accountId })).toMatchObject({ status: 404 });
    expect(await sending(to, accountId)).toBe("sent");
  });

  test("pages → each entry once, in the order of adding", async () => {
    const accountId = await world.account();
    const numbers = Array.from({ length: 7 }, nextPhone);
    for (const number of numbers) await suppress({ phone: number, accountId });
    const seen: string[] = [];
    let cursor: string | null = "0";
    for (let page = 0; cursor !== null; page++) {
      const { body }: Answer = await service.get(LIST + query({ accountId, limit: "3", cursor }));
      seen.push(...body.suppressions.map((each: { phone: string }) => each.phone));
      cursor = body.nextCursor;
      expect(page).toBeLessThan(3);
    }
    expect(seen).toEqual(numbers);
  });

  test.each([
    [{ phone: "12" }, 400, "/phone"],
    [{ phone: "+33612345678", reason: "x".repeat(501) }, 400, "/reason"],
    [{ phone: "+33612345678", accountId: "acc_nobody" }, 422, "/accountId"],
    [{}, 400, "/phone"],
  ])("%j → %i at %s", async (entry, status, pointer) => {
    expect(await suppress(entry)).toMatchObject({ status, body: { errors: [{ pointer }] } });
  });
});

describe("what a person writes", () => {
  test("STOP, then START → is contacted again by that account, and the next STOP is a first one again", async () => {
    const accountId = await world.account();
    const to = await contacted(accountId);
    expect(await reply(to, "STOP")).toEqual({ firstStop: true });
    expect(await reply(to, "stop")).toEqual({ firstStop: false });
    expect(await listed({ phone: to })).toMatchObject([{ accountId, source: "reply" }]);
    expect(await sending(to, accountId)).toBe("suppressed");
    expect(await reply(to, " Start! ")).toEqual({ firstStop: false });
    expect(await listed({ phone: to })).toEqual([]);
    expect(await sending(to, accountId)).toBe("sent");
    expect(await reply(to, "STOP")).toEqual({ firstStop: true });
  });

  test.each(["START", "Unstop", "RÉABONNER", "start 36111"])("%j → takes a stop back", async (text) => {
    const accountId = await world.account();
    const to = await contacted(accountId);
    await reply(to, "Arrêt");
    await reply(to, text);
    expect(await listed({ phone: to })).toEqual([]);
  });

  test.each(["OUI", "yes", "ok", "Je start demain", "START STOP", "Restart"])(
    "%j → takes nothing back",
    async (text) => {
      const accountId = await world.account();
      const to = await contacted(accountId);
      await reply(to, "STOP");
      await reply(to, text);
      expect(await listed({ phone: to })).toHaveLength(1);
    },
  );

  test("START of one account's contact → takes back nothing that another account was told", async () => {
    const [first, second] = [await world.account(), await world.account()];
    const to = await contacted(first);
    await reply(to, "STOP");
    expect(await sending(to, second)).toBe("sent");
    await reply(to, "START");
    expect(await listed({ phone: to })).toMatchObject([{ accountId: first, source: "reply" }]);
  });

  test("START of a stranger who had written STOP → takes back what held for everybody", async () => {
    const to = nextPhone();
    await reply(to, "STOP");
    expect(await listed({ phone: to })).toMatchObject([{ accountId: null, source: "reply" }]);
    await reply(to, "START");
    expect(await listed({ phone: to })).toEqual([]);
  });

  test("START after a stop by hand, by a file or by the carrier → takes nothing back", async () => {
    const accountId = await world.account();
    const byHand = await contacted(accountId);
    await suppress({ phone: byHand, accountId });
    const byFile = await contacted(accountId);
    await call("POST", `${LIST}/import${query({ accountId })}`, `phone\n${byFile}\n`);
    const byCarrier = await contacted(accountId);
    script = () => {
      throw refusal("carrier_21610", true);
    };
    await run(service, { accountId, contacts: [contact({ recipientPhone: byCarrier })] });
    for (const [to, source] of [
      [byHand, "manual"],
      [byFile, "import"],
      [byCarrier, "carrier"],
    ] as const) {
      await reply(to, "START");
      expect(await listed({ phone: to, accountId })).toMatchObject([{ source }]);
      expect(await sending(to, accountId)).toBe("suppressed");
    }
  });

  test("a stop by hand after one by a reply → no reply takes it back any more", async () => {
    const accountId = await world.account();
    const to = await contacted(accountId);
    await reply(to, "STOP");
    await suppress({ phone: to, accountId, reason: "complained" });
    await reply(to, "START");
    expect(await listed({ phone: to })).toMatchObject([{ source: "manual", reason: "complained" }]);
  });

  test("STOP and START that a webhook brought, in a job of the queue for what comes in → the same", async () => {
    const accountId = await world.account();
    const to = await contacted(accountId);
    const bring = (text: string) =>
      world.queue("inbound").add("events", {
        events: [{ kind: "reply", provider: "scripted", from: to, text, at: Date.now() }],
      });
    await bring("STOP");
    await expect.poll(() => listed({ phone: to })).toMatchObject([{ accountId, source: "reply" }]);
    await bring("START");
    await expect.poll(() => listed({ phone: to })).toEqual([]);
  });

  test("a STOP between planning and sending → is not called, over any channel", async () => {
    const accountId = await world.account();
    const to = await contacted(accountId);
    for (const queue of ["sms", "voice"]) await world.queue(queue).pause();
    const contacts = ["sms", "ringless_voice"].map((channel) => contact({ recipientPhone: to, channel }));
    const { huntId } = await submit(service, { accountId, contacts });
    await expect.poll(async () => (await messagesOf(service, huntId)).length).toBe(2);
    await reply(to, "STOP");
    for (const queue of ["sms", "voice"]) await world.queue(queue).resume();
    const reasons = async () => (await messagesOf(service, huntId)).map(({ reason }) => reason);
    await expect.poll(reasons).toEqual(["suppressed", "suppressed"]);
    expect(provider.callsTo(to)).toBe(1);
  });

  test("a single send to who is on the list → is accepted and skipped, never called", async () => {
    const accountId = await world.account();
    const to = nextPhone();
    await suppress({ phone: to, accountId });
    const { body } = await service.post("/api/phone/sms", { recipientPhone: to, accountId, message: "Bonjour" });
    expect((await settles(service, body.messageId, "skipped")).reason).toBe("suppressed");
    expect((await messageOf(service, body.messageId)).attempts).toBe(0);
    expect(provider.callsTo(to)).toBe(0);
  });
});

describe("STOP and START that come in another order than they were written", () => {
  const T = Date.parse("2026-11-20T10:00:00Z");
  test.each([
    ["a START that comes late", ["STOP 2", "START 1"], 1],
    ["a START of the same moment", ["STOP 1", "START 1"], 1],
    ["a STOP of the same moment", ["START 1", "STOP 1"], 1],
    ["a STOP that comes late", ["START 2", "STOP 1"], 0],
    ["a START between two STOPs", ["STOP 1", "STOP 3", "START 2"], 1],
    ["the same, the STOPs swapped", ["STOP 3", "STOP 1", "START 2"], 1],
    ["a STOP that was taken back, come again", ["STOP 1", "START 3", "STOP 2"], 0],
    ["both in their order", ["STOP 1", "START 2"], 0],
  ])("%s: %j → %i entries", async (_, written, entries) => {
    const to = nextPhone();
    for (const each of written) {
      const [text = "", second] = each.split(" ");
      await reply(to, text, { at: T + Number(second) * 1000 });
    }
    expect(await listed({ phone: to })).toHaveLength(entries);
  });

  test("a late STOP, taken back before → is no first one, and the account may write; a later one counts again", async () => {
    const [accountId, other] = [await world.account(), await world.account()];
    const to = await contacted(accountId);
    await reply(to, "START", { at: T + 2000 });
    expect(await reply(to, "STOP", { at: T })).toEqual({ firstStop: false });
    expect(await sending(to, accountId)).toBe("sent");
    // What was said to one account is nothing to another.
    expect(await sending(to, other)).toBe("sent");
    expect(await reply(to, "STOP", { at: T + 1000 })).toEqual({ firstStop: true });
    expect(await listed({ phone: to })).toMatchObject([{ accountId: other }]);
  });

  test("an entry from before the moment was kept → only what was written after it was made takes it back", async () => {
    const to = nextPhone();
    await reply(to, "STOP");
    await world.sql.query("update suppressions set stopped_at = null where phone = $1", [to]);
    await reply(to, "START", { at: T });
    expect(await listed({ phone: to })).toHaveLength(1);
    await reply(to, "START", { at: Date.now() + 60_000 });
    expect(await listed({ phone: to })).toEqual([]);
  });
});

describe("a person to whom several accounts have written", () => {
  const [ONE, TWO, ELSE] = ["+33987650001", "+33987650002", "+33987650009"];
  const write = (to: string, accountId: string, senderPhone?: string) =>
    run(service, {
      accountId,
      contacts: [contact({ recipientPhone: to, adId: to, ...(senderPhone ? { senderPhone } : {}) })],
    });
  const stopped = async (phone: string) =>
    (await listed({ phone })).map(({ accountId }: { accountId: string }) => accountId).toSorted();
  const replied = async () =>
    (await world.sql.query("select account_id from replies order by id desc limit 1")).rows[0].account_id;

  test("STOP → counts for whoever has written from the number that was answered, or may have; the rest for the last", async () => {
    const [a, b, c] = [await world.account(), await world.account(), await world.account()];
    const to = nextPhone();
    script = accept;
    await write(to, a, "+33 9 87 65 00 01");
    await write(to, b, TWO);
    const stop = async (number?: string) => {
      await world.sql.query("delete from suppressions where phone = $1", [to]);
      await reply(to, "STOP", number === undefined ? {} : { to: number });
      return stopped(to);
    };
    expect(await stop(ONE)).toEqual([a]);
    expect(await replied()).toBe(a);
    // Nobody has written from there: it may have been answered all the same, at a short code or a number that has changed.
    expect(await stop(ELSE)).toEqual([a, b].toSorted());
    expect(await replied()).toBe(b);

    await world.sql.query("delete from suppressions where phone = $1", [to]);
    await write(to, c);
    expect(await stop(ONE)).toEqual([a, c].toSorted());
    expect(await stop(TWO)).toEqual([b, c].toSorted());
    expect(await stop(ELSE)).toEqual([c]);
    expect(await stop()).toEqual([a, b, c].toSorted());

    await reply(to, "START", { to: ONE });
    expect(await stopped(to)).toEqual([b, c].toSorted());
    await reply(to, "Oui", { to: TWO });
    expect(await replied()).toBe(b);
    await reply(to, "Oui");
    expect(await replied()).toBe(c);
  });

  test("a message whose sending is under way → is not what was answered, unless there is no other; STOP counts for it", async () => {
    const [a, b] = [await world.account(), await world.account()];
    const [to, stranger] = [nextPhone(), nextPhone()];
    script = accept;
    await write(to, a);
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    script = async (request, signal) => {
      await held;
      return accept(request, signal);
    };
    const { body: second } = await service.post("/api/phone/sms", { recipientPhone: to, accountId: b, message: "x" });
    const { body: only } = await service.post("/api/phone/sms", {
      recipientPhone: stranger,
      accountId: b,
      message: "x",
    });
    await expect.poll(() => provider.callsTo(to) + provider.callsTo(stranger)).toBe(3);
    await reply(to, "Oui");
    expect(await replied()).toBe(a);
    await reply(stranger, "Oui");
    expect(await replied()).toBe(b);
    await reply(to, "STOP");
    expect(await stopped(to)).toEqual([a, b].toSorted());
    release();
    await settles(service, second.messageId, "sent");
    await settles(service, only.messageId, "sent");
  });
});

describe("files", () => {
  const importing = (text: string, filter: Record<string, string> = {}) =>
    call("POST", `${LIST}/import${query(filter)}`, text);

  test("good and faulty lines → the good ones are taken, each faulty one is named", async () => {
    const [accountId, other] = [await world.account(), await world.account({ default_country: "US" })];
    const [a, b, c] = [nextPhone(), nextPhone(), nextPhone()];
    const file = [
      "Phone,reason,accountId,city",
      `${a},"moved, ""far"" away",,Lyon`,
      "nonsense,,,",
      "",
      `0${b.slice(3)},,,`,
      `(415) 555-0199,,${other},`,
      `${c},,acc_nobody,`,
      `${c},${"x".repeat(501)},,`,
      ",no number,,",
      `${a},,,`,
    ].join("\n");
    const answer = await importing(file, { accountId });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ taken: 4, added: 3 });
    expect(
      answer.body.faults.map((fault: { line: number; detail: string }) => [fault.line, fault.detail.split(":")[0]]),
    ).toEqual([
      [3, "phone"],
      [7, "accountId"],
      [8, "reason"],
      [9, "phone"],
    ]);
    expect(await listed({ accountId })).toMatchObject([
      { phone: a, source: "import", reason: 'moved, "far" away' },
      { phone: b, source: "import", reason: null },
    ]);
    expect(await listed({ accountId: other })).toMatchObject([{ phone: "+14155550199" }]);
    expect(await sending(b, accountId)).toBe("suppressed");
    expect((await importing(file, { accountId })).body).toMatchObject({ taken: 4, added: 0 });
  });

  test.each([
    [
      "semicolons, a mark at the start and Windows' line ends",
      (a: string, b: string) => `\ufeffphone;reason\r\n${a};"a;b"\r\n${b};x\r\n`,
    ],
    ["tabs", (a: string, b: string) => `reason\tphone\nx\t${a}\ny\t${b}\n`],
    ["one column", (a: string, b: string) => `phone\n${a}\n${b}`],
    ["quotation marks around everything", (a: string, b: string) => `"PHONE"\n"${a}"\n"${b}"\n`],
  ])("a file with %s → is read", async (_, text) => {
    const [a, b] = [nextPhone(), nextPhone()];
    expect((await importing(text(a, b))).body).toEqual({ taken: 2, added: 2, faults: [] });
    expect(await listed({ phone: a })).toHaveLength(1);
  });

  test("quotation marks where there should be none → the line is named, the others are taken", async () => {
    const [a, b] = [nextPhone(), nextPhone()];
    const { status, body } = await importing(`phone,reason\n${a},x\n"bad" quote,y\n${b},5" screen\n`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ taken: 2, faults: [{ line: 3 }] });
  });

  test("a quotation mark that is never closed → nothing is taken, since nobody knows which lines follow", async () => {
    const [a, b] = [nextPhone(), nextPhone()];
    const { status, body } = await importing(`phone,reason\n${a},x\n${b},"y\n${a},z\n`);
    expect(status).toBe(400);
    expect(body.errors).toEqual([{ pointer: "", detail: "line 3 has a quotation mark that is not closed" }]);
    expect(await listed({ phone: a })).toEqual([]);
  });

  test("a file as Excel writes it in Western Europe → its numbers are taken, and its accents are right", async () => {
    const a = nextPhone();
    const bytes = Buffer.from(`phone;reason\r\n${a};d\xe9m\xe9nag\xe9\r\n`, "latin1");
    const response = await fetch(`${service.url}${LIST}/import`, {
      method: "POST",
      headers: { authorization: `Bearer ${SECRET}`, "content-type": "text/csv; charset=windows-1252" },
      body: new Uint8Array(bytes),
    });
    expect(await response.json()).toMatchObject({ taken: 1 });
    expect(await listed({ phone: a })).toMatchObject([{ reason: "déménagé" }]);
  });

  test("a file without a column of numbers, an empty one, another type → refused, nothing is taken", async () => {
    expect(await importing("number\n+33612345678\n")).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(await importing("")).toMatchObject({ status: 400 });
    expect(await call("POST", `${LIST}/import`, "phone\n", "application/json")).toMatchObject({ status: 415 });
    const lines = `phone\n${"x\n".repeat(100_001)}`;
    expect(await importing(lines)).toMatchObject({
      status: 400,
      body: { errors: [{ detail: expect.stringContaining("100000") }] },
    });
  });

  test("what is written out, page by page → put together is what there is, and can be read in again", async () => {
    const accountId = await world.account();
    const reasons = ['says "no", twice', "=HYPERLINK(1)", "", "a\nb", "-1"];
    const numbers = reasons.map(nextPhone);
    for (const [i, reason] of reasons.entries()) {
      await suppress({ phone: numbers[i], accountId, ...(reason === "" ? {} : { reason }) });
    }
    let file = "";
    let cursor: string | null = null;
    let pages = 0;
    do {
      const more: Record<string, string> = cursor === null ? {} : { cursor };
      const page: Answer = await service.get(`${LIST}/export${query({ accountId, limit: "2", ...more })}`);
      expect(page.headers.get("content-type")).toBe("text/csv; charset=utf-8");
      file += page.body;
      cursor = page.headers.get("x-next-cursor");
      pages += 1;
    } while (cursor !== null);
    expect(pages).toBe(3);
    expect(file.split("\r\n")[0]).toBe("phone,accountId,reason,source,createdAt");
    expect(file).toContain(`${numbers[1]},${accountId},'=HYPERLINK(1),manual,`);
    for (const number of numbers) await lift({ phone: number, accountId });
    expect((await importing(file)).body).toEqual({ taken: 5, added: 5, faults: [] });
    const again = await listed({ accountId });
    expect(again.map((each: { reason: string | null }) => each.reason ?? "")).toEqual(reasons);
  });
});
