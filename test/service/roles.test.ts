import { expect, test } from "vitest";
import { huntId } from "../helpers/hunts.ts";
import { contacts, settled } from "../helpers/ledger.ts";
import { startProcess } from "../helpers/process.ts";
import { openWorld, SECRET } from "../helpers/service.ts";

test("an api process takes and works nothing, a worker process works and takes nothing, together they are the service", async () => {
  await using world = await openWorld();
  const accountId = await world.account();
  const hunt = (count: number, first: number) => ({ huntId: huntId(), accountId, contacts: contacts(count, first) });
  const [api, worker] = await Promise.all([
    startProcess({ ...world.environment, ROLE: "api" }),
    startProcess({ ...world.environment, ROLE: "worker", WORKER_CONCURRENCY_SMS: "3" }),
  ]);
  await using resources = new AsyncDisposableStack();
  resources.use(api);
  resources.use(worker);
  for (const each of [api, worker]) {
    expect(await each.get("/health")).toMatchObject({ status: 200 });
    await expect.poll(async () => (await each.get("/ready")).status).toBe(200);
    expect((await fetch(`${each.url}/metrics`, { headers: { authorization: `Bearer ${SECRET}` } })).status).toBe(200);
  }
  for (const path of ["/docs", "/admin", "/openapi.json", "/api/queues/stats"]) {
    const status = async (url: string): Promise<number> =>
      (await fetch(url + path, { headers: { authorization: `Bearer ${SECRET}` }, redirect: "manual" })).status;
    expect([path, await status(worker.url)]).toEqual([path, 404]);
    expect([path, await status(api.url)]).not.toEqual([path, 404]);
  }
  expect((await worker.post("/api/hunt/execute", hunt(1, 0))).status).toBe(404);

  expect((await api.post("/api/hunt/execute", hunt(40, 100))).status).toBe(202);
  await settled(world, 40);
  worker.kill("SIGTERM");
  expect(await worker.exited).toBe(0);
  const waiting = await api.post("/api/hunt/execute", hunt(5, 200));
  // Nobody is there to plan it: it waits, and is visible.
  expect(await api.get(`/api/hunt/status/${waiting.body.jobId}`)).toMatchObject({
    body: { state: "planning", total: 5 },
  });
  expect(await world.queue("hunt").getActiveCount()).toBe(0);
  await using second = await startProcess({ ...world.environment, ROLE: "worker" });
  expect(await settled(world, 45)).toBeDefined();
  for (const each of [api, second]) {
    each.kill("SIGTERM");
    expect(await each.exited).toBe(0);
  }
});
