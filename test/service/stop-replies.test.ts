import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { messageOf, messagesOf, run, settles, submit } from "../helpers/hunts.ts";
import { accept, refusal } from "../helpers/scripted.ts";
import { contact, type TestService, type World } from "../helpers/service.ts";
import { LIST, openSuppressionScene, query, type SuppressionScene } from "../helpers/suppression-scene.ts";

let scene: SuppressionScene;
let world: World;
let service: TestService;
let provider: SuppressionScene["provider"];

beforeAll(async () => {
  scene = await openSuppressionScene();
  ({ world, service, provider } = scene);
});
afterAll(() => scene[Symbol.asyncDispose]());

describe("what a person writes", () => {
  test("STOP, then START → is contacted again by that account, and the next STOP is a first one again", async () => {
    const accountId = await world.account();
    const to = await scene.contacted(accountId);
    expect(await scene.reply(to, "STOP")).toEqual({ firstStop: true });
    expect(await scene.reply(to, "stop")).toEqual({ firstStop: false });
    expect(await scene.listed({ phone: to })).toMatchObject([{ accountId, source: "reply" }]);
    expect(await scene.sending(to, accountId)).toBe("suppressed");
    expect(await scene.reply(to, " Start! ")).toEqual({ firstStop: false });
    expect(await scene.listed({ phone: to })).toEqual([]);
    expect(await scene.sending(to, accountId)).toBe("sent");
    expect(await scene.reply(to, "STOP")).toEqual({ firstStop: true });
  });

  test.each(["START", "Unstop", "RÉABONNER", "start 36111"])("%j → takes a stop back", async (text) => {
    const accountId = await world.account();
    const to = await scene.contacted(accountId);
    await scene.reply(to, "Arrêt");
    await scene.reply(to, text);
    expect(await scene.listed({ phone: to })).toEqual([]);
  });

  test.each(["OUI", "yes", "ok", "Je start demain", "START STOP", "Restart"])(
    "%j → takes nothing back",
    async (text) => {
      const accountId = await world.account();
      const to = await scene.contacted(accountId);
      await scene.reply(to, "STOP");
      await scene.reply(to, text);
      expect(await scene.listed({ phone: to })).toHaveLength(1);
    },
  );

  test("START of one account's contact → takes back nothing that another account was told", async () => {
    const [first, second] = [await world.account(), await world.account()];
    const to = await scene.contacted(first);
    await scene.reply(to, "STOP");
    expect(await scene.sending(to, second)).toBe("sent");
    await scene.reply(to, "START");
    expect(await scene.listed({ phone: to })).toMatchObject([{ accountId: first, source: "reply" }]);
  });

  test("START of a stranger who had written STOP → takes back what held for everybody", async () => {
    const to = scene.nextPhone();
    await scene.reply(to, "STOP");
    expect(await scene.listed({ phone: to })).toMatchObject([{ accountId: null, source: "reply" }]);
    await scene.reply(to, "START");
    expect(await scene.listed({ phone: to })).toEqual([]);
  });

  test("START after a stop by hand, by a file or by the carrier → takes nothing back", async () => {
    const accountId = await world.account();
    const byHand = await scene.contacted(accountId);
    await scene.suppress({ phone: byHand, accountId });
    const byFile = await scene.contacted(accountId);
    await scene.call("POST", `${LIST}/import${query({ accountId })}`, `phone\n${byFile}\n`);
    const byCarrier = await scene.contacted(accountId);
    scene.script = () => {
      throw refusal("carrier_21610", true);
    };
    await run(service, { accountId, contacts: [contact({ recipientPhone: byCarrier })] });
    for (const [to, source] of [
      [byHand, "manual"],
      [byFile, "import"],
      [byCarrier, "carrier"],
    ] as const) {
      await scene.reply(to, "START");
      expect(await scene.listed({ phone: to, accountId })).toMatchObject([{ source }]);
      expect(await scene.sending(to, accountId)).toBe("suppressed");
    }
  });

  test("a stop by hand after one by a reply → no reply takes it back any more", async () => {
    const accountId = await world.account();
    const to = await scene.contacted(accountId);
    await scene.reply(to, "STOP");
    await scene.suppress({ phone: to, accountId, reason: "complained" });
    await scene.reply(to, "START");
    expect(await scene.listed({ phone: to })).toMatchObject([{ source: "manual", reason: "complained" }]);
  });

  test("STOP and START that a webhook brought, in a job of the queue for what comes in → the same", async () => {
    const accountId = await world.account();
    const to = await scene.contacted(accountId);
    const bring = (text: string) =>
      world.queue("inbound").add("events", {
        events: [{ kind: "reply", provider: "scripted", from: to, text, at: Date.now() }],
      });
    await bring("STOP");
    await expect.poll(() => scene.listed({ phone: to })).toMatchObject([{ accountId, source: "reply" }]);
    await bring("START");
    await expect.poll(() => scene.listed({ phone: to })).toEqual([]);
  });

  test("a STOP between planning and sending → is not called, over any channel", async () => {
    const accountId = await world.account();
    const to = await scene.contacted(accountId);
    for (const queue of ["sms", "voice"]) await world.queue(queue).pause();
    const contacts = ["sms", "ringless_voice"].map((channel) => contact({ recipientPhone: to, channel }));
    const { huntId } = await submit(service, { accountId, contacts });
    await expect.poll(async () => (await messagesOf(service, huntId)).length).toBe(2);
    await scene.reply(to, "STOP");
    for (const queue of ["sms", "voice"]) await world.queue(queue).resume();
    const reasons = async () => (await messagesOf(service, huntId)).map(({ reason }) => reason);
    await expect.poll(reasons).toEqual(["suppressed", "suppressed"]);
    expect(provider.callsTo(to)).toBe(1);
  });

  test("a single send to who is on the list → is accepted and skipped, never called", async () => {
    const accountId = await world.account();
    const to = scene.nextPhone();
    await scene.suppress({ phone: to, accountId });
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
    const to = scene.nextPhone();
    for (const each of written) {
      const [text = "", second] = each.split(" ");
      await scene.reply(to, text, { at: T + Number(second) * 1000 });
    }
    expect(await scene.listed({ phone: to })).toHaveLength(entries);
  });

  test("a late STOP, taken back before → is no first one, and the account may write; a later one counts again", async () => {
    const [accountId, other] = [await world.account(), await world.account()];
    const to = await scene.contacted(accountId);
    await scene.reply(to, "START", { at: T + 2000 });
    expect(await scene.reply(to, "STOP", { at: T })).toEqual({ firstStop: false });
    expect(await scene.sending(to, accountId)).toBe("sent");
    // What was said to one account is nothing to another.
    expect(await scene.sending(to, other)).toBe("sent");
    expect(await scene.reply(to, "STOP", { at: T + 1000 })).toEqual({ firstStop: true });
    expect(await scene.listed({ phone: to })).toMatchObject([{ accountId: other }]);
  });

  test("an entry from before the moment was kept → only what was written after it was made takes it back", async () => {
    const to = scene.nextPhone();
    await scene.reply(to, "STOP");
    await world.sql.query("update suppressions set stopped_at = null where phone = $1", [to]);
    await scene.reply(to, "START", { at: T });
    expect(await scene.listed({ phone: to })).toHaveLength(1);
    await scene.reply(to, "START", { at: Date.now() + 60_000 });
    expect(await scene.listed({ phone: to })).toEqual([]);
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
    (await scene.listed({ phone })).map(({ accountId }: { accountId: string }) => accountId).toSorted();
  const replied = async () =>
    (await world.sql.query("select account_id from replies order by id desc limit 1")).rows[0].account_id;

  test("STOP → counts for whoever has written from the number that was answered, or may have; the rest for the last", async () => {
    const [a, b, c] = [await world.account(), await world.account(), await world.account()];
    const to = scene.nextPhone();
    scene.script = accept;
    await write(to, a, "+33 9 87 65 00 01");
    await write(to, b, TWO);
    const stop = async (number?: string) => {
      await world.sql.query("delete from suppressions where phone = $1", [to]);
      await scene.reply(to, "STOP", number === undefined ? {} : { to: number });
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

    await scene.reply(to, "START", { to: ONE });
    expect(await stopped(to)).toEqual([b, c].toSorted());
    await scene.reply(to, "Oui", { to: TWO });
    expect(await replied()).toBe(b);
    await scene.reply(to, "Oui");
    expect(await replied()).toBe(c);
  });

  test("a message whose sending is under way → is not what was answered, unless there is no other; STOP counts for it", async () => {
    const [a, b] = [await world.account(), await world.account()];
    const [to, stranger] = [scene.nextPhone(), scene.nextPhone()];
    scene.script = accept;
    await write(to, a);
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    scene.script = async (request, signal) => {
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
    await scene.reply(to, "Oui");
    expect(await replied()).toBe(a);
    await scene.reply(stranger, "Oui");
    expect(await replied()).toBe(b);
    await scene.reply(to, "STOP");
    expect(await stopped(to)).toEqual([a, b].toSorted());
    release();
    await settles(service, second.messageId, "sent");
    await settles(service, only.messageId, "sent");
  });
});
