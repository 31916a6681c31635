import { afterAll, beforeAll, expect, test } from "vitest";
import { LOOPBACK } from "../fakes/twilio-voice/file-server.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";
import { openReceiver, type Receiver } from "../helpers/webhook-receiver.ts";

const SLOTS = 8;

let world: World;
let service: TestService;
let receiver: Receiver;

beforeAll(async () => {
  world = await openWorld();
  receiver = await openReceiver();
  // Nobody is given up while a test lasts.
  const environment = { WEBHOOK_CONCURRENCY: String(SLOTS), WEBHOOK_TIMEOUT_MS: "60000", WEBHOOK_BACKOFF_MS: "20" };
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
