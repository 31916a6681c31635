import { afterAll, beforeAll, expect, test } from "vitest";
import { LOOPBACK } from "../fakes/twilio-voice/file-server.ts";
import { until } from "../helpers/ledger.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { openReceiver, type Receiver } from "../helpers/webhook-receiver.ts";

const SLOTS = 8;

let world: World;
let service: TestService;
let receiver: Receiver;

beforeAll(async () => {
  world = await openWorld();
  receiver = await openReceiver();
  // Nobody is given up while a test lasts.
  const environment = {
    WEBHOOK_CONCURRENCY: String(SLOTS),
    WEBHOOK_TIMEOUT_MS: "60000",
    WEBHOOK_BACKOFF_MS: "20",
    LOG_LEVELS: "events=info",
  };
  service = await world.start(environment, { fetchPolicy: LOOPBACK });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
});

async function endpoint(accountId: string, path: string): Promise<string> {
  const { status, body } = await service.post("/api/webhook-endpoints", { accountId, url: receiver.url + path });
  expect(status).toBe(201);
  return body.endpointId;
}

/** What triggers would write. */
const happens = (accountId: string, count: number) =>
  world.sql.query(
    "insert into events (account_id, type, data) select $1, 'test', '{}' from generate_series(1, $2::int)",
    [accountId, count],
  );

test("endpoints of one account that hang → another account's are told meanwhile, each at its pace", async () => {
  const [hanging, well] = [await world.account(), await world.account()];
  const over = Promise.withResolvers<void>();
  receiver.answer(async ({ path }) => {
    if (path.startsWith("/hang")) await over.promise;
    return { status: 204 };
  });
  for (let i = 0; i < SLOTS; i += 1) await endpoint(hanging, `/hang/${i}`);
  await endpoint(well, "/well");
  await happens(hanging, 2);
  const stuck = () => receiver.all.filter(({ path }) => path.startsWith("/hang"));
  await receiver.until("/well", () => stuck().length > 0);
  await happens(well, 6);
  const told = await receiver.until("/well", (all) => all.filter(({ status }) => status === 204).length === 6);
  expect(new Set(told.map(({ id }) => id)).size).toBe(6);
  expect(stuck().map(({ status }) => status)).toEqual(Array.from({ length: SLOTS / 4 }, () => undefined));
  over.resolve();
  // Nothing of what had to wait is lost.
  await receiver.until("/well", () => stuck().length === 2 * SLOTS);
});

test("an endpoint that has failed for days without one success → is off and says so; turned on, it starts anew", async () => {
  const accountId = await world.account();
  const endpointId = await endpoint(accountId, "/broken");
  let status = 500;
  receiver.answer(() => ({ status }));
  const shown = async () => (await service.get(`/api/webhook-endpoints/${endpointId}`)).body;
  const daysPass = (days: number) =>
    world.sql.query(
      "update webhook_endpoints set failing_since = failing_since - make_interval(days => $2) where id = $1",
      [endpointId, days],
    );
  const tries = async (outcome: number): Promise<void> => {
    status = outcome;
    const before = receiver.at("/broken").filter((each) => each.status === outcome).length;
    await happens(accountId, 1);
    await receiver.until("/broken", (all) => all.filter((each) => each.status === outcome).length > before);
  };
  const turnedOff = () => service.logs.filter(({ msg }) => msg === "a webhook endpoint was turned off");

  await tries(500);
  await until(shown, ({ failures }) => failures > 0);
  await daysPass(4);
  await tries(204);
  // A success in between: the days count from the next failure on.
  await until(shown, ({ failures }) => failures === 0);
  await tries(500);
  await until(shown, ({ failures }) => failures > 0);
  await daysPass(4);
  await tries(500);
  expect(await shown()).toMatchObject({ enabled: true, disabledBecause: null });
  await daysPass(1);
  await until(shown, ({ enabled }) => !enabled);
  expect(await shown()).toMatchObject({ enabled: false, disabledBecause: "failing" });
  await until(
    async () => turnedOff(),
    (lines) => lines.length > 0,
  );
  expect(turnedOff()).toMatchObject([{ room: "events", endpointId, reason: "failing", status: 500 }]);
  expect((await service.get("/metrics")).body).toContain('endpoints_turned_off_total{reason="failing"} 1');

  const headers = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };
  const body = JSON.stringify({ enabled: true });
  const on = await fetch(`${service.url}/api/webhook-endpoints/${endpointId}`, { method: "PATCH", headers, body });
  expect(await on.json()).toMatchObject({ enabled: true, disabledBecause: null, failures: 0 });
  await tries(500);
  await until(shown, ({ failures }) => failures > 0);
  expect(await shown()).toMatchObject({ enabled: true });
  receiver.answer(() => ({ status: 204 }));
  await until(shown, ({ failures }) => failures === 0);
});

test("an account with twenty endpoints → is refused another one, and told what to do; others are not", async () => {
  const [full, other] = [await world.account(), await world.account()];
  const create = (accountId: string, path: string) =>
    service.post("/api/webhook-endpoints", { accountId, url: receiver.url + path });
  const made = await Promise.all(Array.from({ length: 25 }, (_, i) => create(full, `/full/${i}`)));
  expect(made.filter(({ status }) => status === 201)).toHaveLength(20);
  const refused = made.find(({ status }) => status === 409);
  expect(refused?.body).toMatchObject({ code: "too_many_endpoints", detail: expect.stringMatching(/Delete one/) });
  const taken = made.find(({ status }) => status === 201)?.body;
  const again = await create(full, new URL(taken.url).pathname);
  expect(again.body).toMatchObject({ status: 409, code: "endpoint_exists" });
  expect((await create(other, "/full/0")).status).toBe(201);
  const headers = { authorization: `Bearer ${SECRET}` };
  await fetch(`${service.url}/api/webhook-endpoints/${taken.endpointId}`, { method: "DELETE", headers });
  expect((await create(full, "/full/new")).status).toBe(201);
});

test("what webhooks log → belongs to the room events, and is as much as that room's level says", async () => {
  const accountId = await world.account();
  receiver.answer(() => ({ status: 204 }));
  const endpointId = await endpoint(accountId, "/logged");
  await happens(accountId, 1);
  await until(
    async () => (await service.get(`/api/webhook-endpoints/${endpointId}`)).body,
    ({ lastDeliveredAt }) => lastDeliveredAt !== null,
  );
  await world.queue("webhooks").add("deliver", { deliveryId: "none" });
  const failed = await until(
    async () => service.logs.filter(({ queue, msg }) => queue === "webhooks" && msg === "job failed"),
    (lines) => lines.length > 0,
  );
  expect(failed).toMatchObject([{ room: "events" }]);
  expect(service.logs.filter(({ msg }) => msg === "webhook delivered")).toEqual([]);
});
