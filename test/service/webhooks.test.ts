import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { messageOf, phone, settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";
import { PUBLIC_URL, startTwilio, startVonage, type SmsVendor } from "../helpers/sms-vendors.ts";

let last = 100;

describe.each([
  ["Twilio", startTwilio],
  ["Vonage", startVonage],
])("%s calls", (_, startVendor) => {
  let world: World;
  let vendor: SmsVendor;
  let service: TestService;

  beforeAll(async () => {
    world = await openWorld();
    vendor = await startVendor();
    service = await world.start(vendor.environment);
    vendor.reach(service);
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
    await vendor[Symbol.asyncDispose]();
  });

  /** Sends one message; resolves when the vendor has taken it. */
  async function send(extra: object = {}): Promise<{ messageId: string; to: string }> {
    const to = phone((last += 1));
    const { body, status } = await service.post("/api/phone/sms", { recipientPhone: to, message: "Bonjour", ...extra });
    expect(status).toBe(202);
    await expect.poll(() => vendor.taken(to)).toBe(1);
    return { messageId: body.messageId, to };
  }

  const eventsOf = async (messageId: string): Promise<string[]> => {
    const { rows } = await world.sql.query("select kind from message_events where message_id = $1 order by id", [
      messageId,
    ]);
    return rows.map(({ kind }) => kind);
  };

  /** All that was taken before this is in the ledger once it resolves. */
  async function settled(): Promise<void> {
    await expect
      .poll(async () => {
        const jobs = await world.queue("inbound").getJobs(["wait", "active", "delayed"]);
        // What a message was charged is asked for a minute later.
        return jobs.filter(({ name }) => name === "events").length;
      })
      .toBe(0);
  }

  const pending = async (): Promise<number> =>
    Number((await world.sql.query("select count(*)::int as n from pending_receipts")).rows[0].n);

  test("sent, then delivered → delivered, each once", async () => {
    const { messageId, to } = await send();
    expect((await vendor.report(to, "sent")).status).toBe(204);
    expect((await vendor.report(to, "delivered")).status).toBe(204);
    await settles(service, messageId, "delivered");
    expect(await eventsOf(messageId)).toEqual(["sent", "delivered"]);
  });

  test("failed → failed, with the vendor's code", async () => {
    const { messageId, to } = await send();
    await settles(service, messageId, "sent");
    await vendor.report(to, "failed");
    expect(await settles(service, messageId, "failed")).toMatchObject({ code: vendor.failure });
    const { rowCount } = await world.sql.query("select 1 from suppressions where phone = $1", [to]);
    expect(rowCount).toBe(0);
  });

  test("failed because of a STOP → the number is suppressed for the account", async () => {
    const accountId = await world.account();
    const { messageId, to } = await send({ accountId });
    await vendor.report(to, "stopped");
    await settles(service, messageId, "failed");
    const { rows } = await world.sql.query("select account_id, reason from suppressions where phone = $1", [to]);
    expect(rows).toEqual([{ account_id: accountId, reason: "carrier" }]);
    const { body } = await service.post("/api/phone/sms", { recipientPhone: to, message: "Encore", accountId });
    expect(await settles(service, body.messageId, "skipped")).toMatchObject({ reason: "suppressed" });
  });

  test("what is not about a state → taken, and changes nothing", async () => {
    const { messageId, to } = await send();
    await settles(service, messageId, "sent");
    expect((await vendor.report(to, "irrelevant")).status).toBe(204);
    await settled();
    expect(await eventsOf(messageId)).toEqual(["sent"]);
  });

  test("delivered ten times at once, and again later → once", async () => {
    const { messageId, to } = await send();
    const answers = await Promise.all(Array.from({ length: 10 }, () => vendor.report(to, "delivered")));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 204));
    await settles(service, messageId, "delivered");
    await vendor.report(to, "delivered");
    await settled();
    expect((await eventsOf(messageId)).filter((kind) => kind === "delivered")).toHaveLength(1);
  });

  test("delivered, then sent and failed late and out of order → stays delivered", async () => {
    const { messageId, to } = await send();
    await vendor.report(to, "delivered");
    await settles(service, messageId, "delivered");
    await vendor.report(to, "sent");
    await vendor.report(to, "failed");
    await settled();
    expect(await messageOf(service, messageId)).toMatchObject({ status: "delivered", code: null });
  });

  test("delivered before the vendor has answered the send → kept, and delivered", async () => {
    vendor.onAccept(async (to) => {
      expect((await vendor.report(to, "delivered")).status).toBe(204);
      await settled();
    });
    const { messageId } = await send();
    await settles(service, messageId, "delivered");
    vendor.onAccept(() => {});
    expect(await eventsOf(messageId)).toEqual(["sent", "delivered"]);
  });

  test("a send that the vendor takes and never answers, then its receipt → sent, not unknown, and taken once", async () => {
    const accountId = await world.account();
    await world.credits(accountId, "sms", 1);
    vendor.otherwise({ kind: "hang", accept: true });
    const { messageId, to } = await send({ accountId });
    vendor.otherwise({ kind: "accept" });
    await vendor.report(to, "sent");
    expect(await settles(service, messageId, "sent")).toMatchObject({
      provider: vendor.name,
      providerMessageId: expect.any(String),
      sentAt: expect.any(String),
    });
    await vendor.report(to, "delivered");
    await settles(service, messageId, "delivered");
    const { rows } = await world.sql.query(
      "select balance::int, reserved::int, spent::int from credits where account_id = $1",
      [accountId],
    );
    expect(rows).toEqual([{ balance: 0, reserved: 0, spent: 1 }]);
    // The worker's own time-out comes later, and takes nothing back.
    await expect
      .poll(async () => (await service.get(`/api/jobs/sms/${messageId}`)).body.state, { timeout: 25_000 })
      .toMatch(/delayed|completed/);
    expect((await messageOf(service, messageId)).status).toBe("delivered");
    expect(vendor.taken(to)).toBe(1);
  });

  test("a receipt for a message that nobody knows → kept", async () => {
    const before = await pending();
    expect((await vendor.reportUnknown(randomUUID(), "delivered")).status).toBe(204);
    await expect.poll(pending).toBe(before + 1);
    await vendor.reportUnknown(randomUUID(), "sent");
    await expect.poll(pending).toBe(before + 2);
  });

  test("a reply → a reply to what was sent, once however often it comes", async () => {
    const { messageId, to } = await send();
    await settles(service, messageId, "sent");
    const id = randomUUID();
    for (let i = 0; i < 3; i++) expect((await vendor.reply(to, "Oui, toujours !", id)).status).toBe(204);
    await settled();
    const { rows } = await world.sql.query("select message_id, phone, text, provider from replies where phone = $1", [
      to,
    ]);
    expect(rows).toEqual([{ message_id: messageId, phone: to, text: "Oui, toujours !", provider: vendor.name }]);
    expect(await eventsOf(messageId)).toEqual(["sent", "reply"]);
  });

  test("STOP as a reply → suppressed, and nothing more is sent there", async () => {
    const accountId = await world.account();
    const { messageId, to } = await send({ accountId });
    await settles(service, messageId, "sent");
    await vendor.reply(to, " Stop ! ");
    await settled();
    const { body } = await service.post("/api/phone/sms", { recipientPhone: to, message: "Encore", accountId });
    expect(await settles(service, body.messageId, "skipped")).toMatchObject({ reason: "suppressed" });
    expect(vendor.taken(to)).toBe(1);
  });

  test("a reply with what no database stores → stored without it", async () => {
    const { messageId, to } = await send();
    await settles(service, messageId, "sent");
    await vendor.reply(to, "oui\0 🚲");
    await settled();
    const { rows } = await world.sql.query("select text from replies where phone = $1", [to]);
    expect(rows).toEqual([{ text: "oui 🚲" }]);
  });

  test.each(["unsigned", "wrong secret", "changed body", "other account"] as const)(
    "%s → 401, and nothing changes",
    async (how) => {
      const { messageId, to } = await send();
      await settles(service, messageId, "sent");
      const answer = await vendor.forge(how, to);
      expect(answer.status).toBe(401);
      expect(await answer.json()).toMatchObject({ code: "invalid_signature" });
      await settled();
      expect(await eventsOf(messageId)).toEqual(["sent"]);
    },
  );

  test.each(["status", "inbound"] as const)("%s: signed nonsense → 400 that says what is wrong", async (what) => {
    const answer = await vendor.nonsense(what);
    expect(answer.status).toBe(400);
    const { code, errors } = (await answer.json()) as { code: string; errors: { pointer: string; detail: string }[] };
    expect(code).toBe("invalid_request");
    expect(errors[0]).toEqual({
      pointer: expect.stringMatching(/^\/\w+$/),
      detail: expect.stringContaining("missing"),
    });
  });

  test("each call → counted, by what became of it", async () => {
    const counts = async () => {
      const pattern = new RegExp(
        `^auto_prospect_webhooks_total\\{provider="${vendor.name}",result="(\\w+)"\\} (\\d+)$`,
        "gm",
      );
      const found = [...(await service.get("/metrics")).body.matchAll(pattern)];
      const of = (result: string) => Number(found.find(([, name]) => name === result)?.[2] ?? 0);
      return [of("taken"), of("forged"), of("malformed")];
    };
    const { to } = await send();
    const [taken = 0, forged = 0, malformed = 0] = await counts();
    await vendor.report(to, "delivered");
    await vendor.report(to, "irrelevant");
    await vendor.forge("wrong secret", to);
    await vendor.nonsense("inbound");
    expect(await counts()).toEqual([taken + 2, forged + 1, malformed + 1]);
  });

  test.each(["status", "inbound"])("%s: 1 MB → 413; of another type → 415; nothing → 400", async (what) => {
    const url = `${service.url}/webhooks/${vendor.name}/${what}`;
    const type = vendor.name === "twilio" ? "application/x-www-form-urlencoded" : "application/json";
    const post = (body: string, contentType = type) =>
      fetch(url, { method: "POST", body, headers: { "content-type": contentType } });
    expect((await post("a=".padEnd(1_000_000, "x"))).status).toBe(413);
    expect((await post("<xml/>", "text/xml")).status).toBe(415);
    expect((await post("")).status).toBe(400);
    expect((await fetch(url)).status).toBe(405);
  });

  test("two hundred receipts → each answered, and all delivered", async () => {
    const sent = await Promise.all(Array.from({ length: 40 }, () => send()));
    for (const { to } of sent) {
      for (const status of ["sent", "sent", "delivered", "delivered", "sent"] as const) {
        expect((await vendor.report(to, status)).status).toBe(204);
      }
    }
    await Promise.all(sent.map(({ messageId }) => settles(service, messageId, "delivered")));
  });
});

describe("where webhooks are", () => {
  test("without PUBLIC_URL → there are none, and Twilio is told of none", async () => {
    await using world = await openWorld();
    await using vendor = await startTwilio();
    const { PUBLIC_URL: __, ...environment } = vendor.environment;
    const service = await world.start(environment);
    expect((await fetch(`${service.url}/webhooks/twilio/status`, { method: "POST" })).status).toBe(404);
  });

  test("with credentials of a vendor who is not chosen → they stay, for what he has sent before", async () => {
    await using world = await openWorld();
    await using twilio = await startTwilio();
    await using vonage = await startVonage();
    const service = await world.start({ ...twilio.environment, ...vonage.environment, SMS_PROVIDER: "sandbox" });
    const { body } = await service.get("/openapi.json");
    const paths = Object.keys(body.paths).filter((path) => path.startsWith("/webhooks"));
    expect(paths).toEqual([
      "/webhooks/twilio/status",
      "/webhooks/twilio/inbound",
      "/webhooks/vonage/status",
      "/webhooks/vonage/inbound",
    ]);
    for (const path of paths) {
      expect(body.paths[path].post.security).toEqual([]);
      expect(Object.keys(body.paths[path].post.responses)).toEqual(
        expect.arrayContaining(["204", "400", "401", "413"]),
      );
    }
    twilio.reach(service);
    expect((await twilio.reportUnknown("SM1", "delivered")).status).toBe(204);
  });

  test("PUBLIC_URL that is no address → the environment is refused", async () => {
    await using world = await openWorld();
    await expect(world.start({ PUBLIC_URL: "worker.example.com" })).rejects.toThrow("PUBLIC_URL");
    await expect(world.start({ PUBLIC_URL: `${PUBLIC_URL}?a=b` })).rejects.toThrow("PUBLIC_URL");
  });
});
