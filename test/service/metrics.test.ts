import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FAILURES } from "../../src/core/metrics.ts";
import { phone, run, submit } from "../helpers/hunts.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

const TOKEN = "for-prometheus-alone";

let world: World;
let service: TestService;
let accountId: string;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start({ METRICS_TOKEN: ` another-one, ${TOKEN} ` });
  accountId = await world.account();
});
afterAll(() => world[Symbol.asyncDispose]());

const page = async (): Promise<string> => (await service.get("/metrics")).body;

/** The value of a series, by its name and labels as on the page. */
async function value(series: string): Promise<number | undefined> {
  const line = (await page()).split("\n").find((each) => each.startsWith(`auto_prospect_${series} `));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(" ") + 1));
}

test("the token for metrics → opens the metrics, and nothing else", async () => {
  for (const [authorization, status] of [
    [`Bearer ${TOKEN}`, 200],
    ["Bearer another-one", 200],
    [`Bearer ${TOKEN}x`, 401],
  ] as const) {
    expect({ authorization, status: (await service.get("/metrics", { authorization })).status }).toEqual({
      authorization,
      status,
    });
  }
  expect((await service.get("/api/queues/stats", { authorization: `Bearer ${TOKEN}` })).status).toBe(401);
});

test("messages that come to an end → counted by result and by class of code, in jobs, batches and time", async () => {
  const numbers = [phone(1), phone(2), "+33612340001", "+33612340002", "+33612340004"];
  await run(service, { accountId, contacts: numbers.map((recipientPhone) => contact({ recipientPhone })) });
  const outcomes = (kind: string) => value(`outcomes_total{channel="sms",provider="sandbox",class="${kind}"}`);
  // The one that is rate-limited first is accepted then.
  expect(await outcomes("accepted")).toBe(3);
  expect(await outcomes("refused")).toBe(1);
  expect(await outcomes("rate_limited")).toBe(1);
  expect(await outcomes("ambiguous")).toBe(1);
  expect(await value('attempt_seconds_count{channel="sms",provider="sandbox"}')).toBe(6);
  await expect.poll(() => value('jobs_ended_total{queue="sms",result="sent"}')).toBe(3);
  await expect.poll(() => value('jobs_ended_total{queue="sms",result="unknown"}')).toBe(1);
  expect(await value('jobs_ended_total{queue="sms",result="failed"}')).toBe(1);
  expect(await value("messages_unknown")).toBe(1);
  const began = (await value('batch_size_sum{operation="begin_attempts"}')) ?? 0;
  expect(began).toBeGreaterThanOrEqual(numbers.length);
  expect(await value('database_seconds_count{operation="begin_attempts"}')).toBe(
    await value('batch_size_count{operation="begin_attempts"}'),
  );
  expect(await page()).not.toMatch(/3361234|acc_/);
});

test("what waits → is counted, and the oldest of it is so old", async () => {
  const queue = world.queue("scraping");
  await queue.add("older", {}, { timestamp: Date.now() - 90_000 });
  await queue.add("younger", {}, { timestamp: Date.now() - 60_000 });
  await queue.add("later", {}, { delay: 3_600_000 });
  expect(await value('jobs{queue="scraping",state="waiting"}')).toBe(2);
  expect(await value('jobs{queue="scraping",state="delayed"}')).toBe(1);
  const oldest = await value('oldest_waiting_seconds{queue="scraping"}');
  expect(oldest).toBeGreaterThanOrEqual(90);
  expect(oldest).toBeLessThan(150);
  await queue.pause();
  expect(await value('jobs{queue="scraping",state="waiting"}')).toBe(2);
  expect(await value('oldest_waiting_seconds{queue="scraping"}')).toBeGreaterThanOrEqual(90);
  await queue.obliterate({ force: true });
  expect(await value('oldest_waiting_seconds{queue="scraping"}')).toBe(0);
});

test("a hunt whose messages wait in the database → is one flow that waits", async () => {
  await world.queue("voice").pause();
  const contacts = Array.from({ length: 60 }, (_, i) =>
    contact({ recipientPhone: phone(100 + i), channel: "ringless_voice", audioUrl: "https://example.com/a.mp3" }),
  );
  await submit(service, { accountId, contacts });
  await expect.poll(() => value('flows_waiting{queue="voice"}')).toBe(1);
  await world.queue("voice").resume();
  await expect.poll(() => value('flows_waiting{queue="voice"}')).toBeUndefined();
});

test("WhatsApp numbers → by state, and those that WhatsApp keeps from writing first", async () => {
  await world.sql.query(
    `insert into whatsapp_sessions (account_id, phone, method, state, paired_at, cold_paused_until)
     values ($1, '+33639980101', 'qr', 'open', now(), null), ($1, '+33639980102', 'qr', 'open', now(), now() + interval '1 day'),
       ($1, '+33639980103', 'qr', 'banned', now(), null)`,
    [accountId],
  );
  expect(await value('whatsapp_sessions{state="open"}')).toBe(2);
  expect(await value('whatsapp_sessions{state="banned"}')).toBe(1);
  expect(await value("whatsapp_sessions_held")).toBe(1);
  await world.sql.query("delete from whatsapp_sessions");
  expect(await value('whatsapp_sessions{state="open"}')).toBeUndefined();
});

test("the page itself → tells of Redis, the database and the event loop", async () => {
  expect(await value('dependency_up{dependency="redis"}')).toBe(1);
  expect(await value('dependency_up{dependency="database"}')).toBe(1);
  expect(await value("redis_seconds_count")).toBeGreaterThan(0);
  expect(await page()).toMatch(/^nodejs_eventloop_lag_p99_seconds \d/m);
});

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");

/** Every series that the page can have, those of histograms by their own names. */
async function series(): Promise<Set<string>> {
  const types = [...(await page()).matchAll(/^# TYPE (\w+) (\w+)$/gm)];
  return new Set(
    types.flatMap(([, name = "", type]) =>
      type === "histogram" ? ["bucket", "sum", "count"].map((part) => `${name}_${part}`) : [name],
    ),
  );
}

/** The names of metrics in an expression: words before a selector, a range or the end of a call. */
const namesIn = (expression: string): string[] =>
  [...expression.matchAll(/\b(auto_prospect_\w+|nodejs_\w+|process_\w+)/g)].map(([, name]) => name!);

test("each metric that a rule names → is there, and each rule has a runbook", async () => {
  const rules = read("ops/alerts.yml")
    .split(/^ +- alert: /m)
    .slice(1);
  const [known, runbooks] = [await series(), read("docs/runbooks.md")];
  expect(rules.length).toBeGreaterThan(10);
  for (const rule of rules) {
    const [name = ""] = rule.split("\n");
    const expression = /expr: (.*?)\n +(?:for|labels):/s.exec(rule)?.[1] ?? "";
    const used = namesIn(expression);
    if (name !== "ServiceDown") expect({ name, used }).not.toEqual({ name, used: [] });
    expect({ name, missing: used.filter((each) => !known.has(each)) }).toEqual({ name, missing: [] });
    expect(rule).toContain(`runbook: docs/runbooks.md#${name.toLowerCase()}\n`);
    expect(runbooks).toContain(`\n## ${name}\n`);
  }
});

test("what Prometheus is told of as failing calls → is what the alert of ours is", () => {
  const classes = /FailureRatio\n +expr: >-\n.*class=~"([a-z_|]+)"/.exec(read("ops/alerts.yml"))?.[1];
  expect(classes?.split("|").toSorted()).toEqual([...FAILURES].toSorted());
});

test("each metric that the dashboard shows → is there, and each of ours is shown", async () => {
  const { panels, templating } = JSON.parse(read("ops/grafana-dashboard.json")) as {
    templating: { list: { name: string; type: string }[] };
    panels: { id: number; title: string; type: string; datasource?: unknown; targets?: { expr: string }[] }[];
  };
  expect(templating.list).toContainEqual(expect.objectContaining({ name: "datasource", type: "datasource" }));
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  const known = await series();
  const shown = new Set<string>();
  for (const { title, type, datasource, targets = [] } of panels.filter((panel) => panel.type !== "row")) {
    const used = targets.flatMap(({ expr }) => namesIn(expr));
    expect({ title, type, datasource, used }).toEqual({
      title,
      type: expect.stringMatching(/^(timeseries|stat|heatmap)$/),
      datasource: { type: "prometheus", uid: "${datasource}" },
      used: expect.arrayContaining([expect.any(String)]),
    });
    expect({ title, missing: used.filter((name) => !known.has(name)) }).toEqual({ title, missing: [] });
    for (const name of used) shown.add(name.replace(/_(bucket|sum|count)$/, ""));
  }
  const ours = [...known].filter((name) => name.startsWith("auto_prospect_"));
  expect(ours.map((name) => name.replace(/_(bucket|sum|count)$/, "")).filter((name) => !shown.has(name))).toEqual([]);
});
