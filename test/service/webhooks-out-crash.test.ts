import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { phone, submit } from "../helpers/hunts.ts";
import { settled, until } from "../helpers/ledger.ts";
import { LOOPBACK } from "../fakes/twilio-voice/file-server.ts";
import { startProcess } from "../helpers/process.ts";
import { contact, openWorld } from "../helpers/service.ts";
import { openReceiver } from "../helpers/webhook-receiver.ts";

const OPEN_SERVICE = fileURLToPath(new URL("../helpers/open-service.ts", import.meta.url));
const CONTACTS = 8;

test("two processes, one of them killed amid deliveries, and Redis emptied → every event arrives, again only under its id", async () => {
  await using receiver = await openReceiver();
  await using world = await openWorld();
  const environment = { WEBHOOK_TIMEOUT_MS: "700", WEBHOOK_BACKOFF_MS: "20" };
  const accountId = await world.account();
  const survivor = await world.start(environment, { fetchPolicy: LOOPBACK });
  await using victim = await startProcess({ ...world.environment, ...environment }, OPEN_SERVICE);
  const { status, body } = await victim.post("/api/webhook-endpoints", { accountId, url: `${receiver.url}/all` });
  expect(status).toBe(201);
  // As one that has done well so far.
  await world.sql.query("update webhook_endpoints set at_once = 20");

  // Nobody is answered until the one is dead: whatever it has sent it cannot have recorded.
  const dead = Promise.withResolvers<void>();
  receiver.answer(async () => {
    await dead.promise;
    return { status: 204 };
  });
  const contacts = Array.from({ length: CONTACTS }, (_, i) => contact({ recipientPhone: phone(60 + i) }));
  await submit(survivor, { accountId, contacts });
  await settled(world, CONTACTS);
  await receiver.until("/all", (all) => all.length >= CONTACTS);
  victim.kill("SIGKILL");
  await victim.exited;
  // What waited in the queue is lost as well.
  const jobs = await world.redis.keys(`${world.prefix}:webhooks:*`);
  if (jobs.length > 0) await world.redis.del(...jobs);
  dead.resolve();

  const states = async (): Promise<Record<string, number>> => {
    const { rows } = await world.sql.query("select state, count(*)::int as n from webhook_deliveries group by 1");
    return Object.fromEntries(rows.map(({ state, n }: { state: string; n: number }) => [state, n]));
  };
  await until(states, ({ pending = 0, delivered = 0 }) => pending === 0 && delivered >= CONTACTS, 25_000);
  expect(Object.keys(await states())).toEqual(["delivered"]);
  const { rows } = await world.sql.query(
    `select 'evt_' || replace(e.uid::text, '-', '') as id from webhook_deliveries d join events e on e.id = d.event_id
     where d.endpoint_id = $1 order by 1`,
    [body.endpointId],
  );
  const arrived = receiver.at("/all");
  expect([...new Set(arrived.map(({ id }) => id))].toSorted()).toEqual(rows.map(({ id }: { id: string }) => id));
  for (const [, same] of Map.groupBy(arrived, ({ id }) => id)) expect(new Set(same.map(({ raw }) => raw)).size).toBe(1);
  const sent = arrived.filter(({ body: { type } }) => type === "message.sent");
  expect(new Set(sent.map(({ body: { data } }) => data["messageId"])).size).toBe(CONTACTS);
});
