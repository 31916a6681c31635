import { expect, test } from "vitest";
import { readRedisUrl } from "../../src/core/redis-url.ts";
import { huntId } from "../helpers/hunts.ts";
import { contacts, settled, until } from "../helpers/ledger.ts";
import { startProcess } from "../helpers/process.ts";
import { openCluster, openSentinel, openTls } from "../helpers/redis-groups.ts";
import { openWorld, SECRET } from "../helpers/service.ts";
import { openFakeWhatsApp, pairedAccount, whatsappEnvironment } from "../helpers/whatsapp.ts";

test.each([
  ["a cluster of three", openCluster],
  ["a master that a sentinel knows", openSentinel],
])("a hunt on %s: everybody is contacted, and no key is outside the prefix's hash tag", async (_, open) => {
  await using group = await open();
  await using world = await openWorld();
  const accountId = await world.account();
  const service = await world.start({ REDIS_URL: group.url });
  await expect.poll(async () => (await service.get("/ready")).status).toBe(200);
  const answer = await service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts: contacts(30) });
  expect(answer.status).toBe(202);
  const { sent = 0, delivered = 0 } = await settled(world, 30);
  expect(sent + delivered).toBe(30);
  const single = { accountId, recipientPhone: "+33612345678", message: "Bonjour" };
  expect((await service.post("/api/phone/sms", single)).status).toBe(202);
  await settled(world, 31);
  expect(await service.get("/api/queues/stats")).toMatchObject({ status: 200 });
  expect(await service.get("/api/senders")).toMatchObject({ status: 200 });
  const login = await fetch(`${service.url}/admin/login`, {
    method: "POST",
    body: new URLSearchParams({ secret: "wrong" }),
  });
  expect(login.status).toBeLessThan(500);
  const nodes = await group.keys();
  expect(nodes.flat().filter((key) => !key.startsWith(world.prefix))).toEqual([]);
  expect(nodes.filter((keys) => keys.length > 0)).toHaveLength(1);
  expect(await service.stop()).toBe(true);
});

test(
  "a node of a cluster that was frozen, and goes on → a WhatsApp session can be forgotten, a service that is stopped is drained, long before the deadline",
  { timeout: 60_000 },
  async () => {
    await using whatsapp = new AsyncDisposableStack();
    const fake = whatsapp.adopt(await openFakeWhatsApp(), (server) => server.stop());
    await using group = await openCluster();
    await using world = await openWorld();
    const service = await world.start({ REDIS_URL: group.url, ...whatsappEnvironment(fake) });
    const other = await world.start({ REDIS_URL: group.url });
    for (const each of [service, other]) await expect.poll(async () => (await each.get("/ready")).status).toBe(200);
    const { id } = await pairedAccount(world, service, fake);
    const thaw = await group.freeze();
    const address = `${service.url}/api/whatsapp/sessions/${id}`;
    const authorization = { authorization: `Bearer ${SECRET}` };
    expect((await fetch(address, { method: "DELETE", headers: authorization })).status).toBe(202);
    const leaves = "nothing runs any more, and Redis has not let go of every worker";
    try {
      await expect.poll(async () => (await other.get("/ready")).status).toBe(503);
      // That of the session, whose messages nobody works any more.
      await expect.poll(() => service.logs.map(({ msg }) => msg)).toContain(leaves);
    } finally {
      thaw();
    }
    expect(await other.stop()).toBe(true);
    await until(
      async () => (await world.sql.query("select from whatsapp_sessions where id = $1", [id])).rowCount,
      (count) => count === 0,
      20_000,
    );
    expect(await service.stop()).toBe(true);
  },
);

test("a hunt on a server that wants TLS, a user and a password", async () => {
  await using redis = await openTls();
  await using world = await openWorld();
  const accountId = await world.account();
  const environment = { ...world.environment, REDIS_URL: redis.url };
  await using service = await startProcess({ ...environment, NODE_EXTRA_CA_CERTS: redis.certificateFile });
  await expect.poll(async () => (await service.get("/ready")).status).toBe(200);
  await service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts: contacts(10) });
  const { sent = 0, delivered = 0 } = await settled(world, 10);
  expect(sent + delivered).toBe(10);
  expect((await redis.keys()).flat().some((key) => key.startsWith(world.prefix))).toBe(true);
  expect(service.output()).not.toContain("p@ss");
});

test("addresses of Redis are read with who may come in, and their faults are told in words", () => {
  expect(readRedisUrl("rediss+sentinel://me:p%40ss@a:1,[::1]/mine/2")).toEqual({
    kind: "sentinel",
    name: "mine",
    db: 2,
    tls: true,
    username: "me",
    password: "p@ss",
    sentinels: [
      { host: "a", port: 1 },
      { host: "::1", port: 26_379 },
    ],
  });
  expect(readRedisUrl("redis+cluster://:pw@a,b:7000")).toMatchObject({
    password: "pw",
    nodes: [{ port: 6379 }, { port: 7000 }],
  });
  expect(readRedisUrl("rediss://a:6380")).toEqual({ kind: "single", url: "rediss://a:6380" });
  for (const wrong of [
    "http://a",
    "redis+sentinel://a:1",
    "redis+sentinel://a:1/m/x",
    "redis+cluster://a/0",
    "redis+cluster://a:x",
  ]) {
    expect([wrong, typeof readRedisUrl(wrong)]).toEqual([wrong, "string"]);
  }
});
