import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../src/config.ts";
import { CHANNELS } from "../../src/modules.ts";
import { doctor } from "../../src/doctor.ts";
import { checkConfiguration } from "../../src/doctor/configuration.ts";
import { clockFinding, type Finding } from "../../src/doctor/finding.ts";
import { checkRedis } from "../../src/doctor/redis.ts";
import { startFakeTwilio, type FakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { FakeVonage, startFakeVonage } from "../fakes/vonage/fake-vonage.ts";
import { startFakeVoicePartner, type FakeVoicePartner } from "../fakes/voicepartner/fake-voicepartner.ts";
import { freePort } from "../../dev/stack/ports.ts";
import { openWorld, type World } from "../helpers/service.ts";
import { ENCRYPTION_KEY } from "../helpers/whatsapp.ts";

const MIGRATIONS = readdirSync(new URL("../../supabase/migrations", import.meta.url)).toSorted();
/** Nobody listens there. */
const NOWHERE = `127.0.0.1:${await freePort()}`;

let world: World;
let twilio: FakeTwilio;
let vonage: FakeVonage;
let voicePartner: FakeVoicePartner;
let environment: Record<string, string>;

beforeAll(async () => {
  world = await openWorld();
  [twilio, vonage, voicePartner] = await Promise.all([startFakeTwilio(), startFakeVonage(), startFakeVoicePartner()]);
  environment = {
    ...world.environment,
    WHATSAPP_ENCRYPTION_KEY: ENCRYPTION_KEY,
    PUBLIC_URL: "https://worker.example.com",
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_FROM: "+33987650000",
    TWILIO_VOICE_FROM: "+33987650000",
    TWILIO_API_BASE_URL: twilio.url,
    VONAGE_API_KEY: FakeVonage.API_KEY,
    VONAGE_API_SECRET: FakeVonage.API_SECRET,
    VONAGE_FROM: "+33987650000",
    VONAGE_API_BASE_URL: vonage.url,
    VOICEPARTNER_API_KEY: voicePartner.apiKey,
    VOICEPARTNER_EMAIL: "operator@example.com",
    VOICEPARTNER_API_BASE_URL: voicePartner.url,
  };
});
afterAll(async () => {
  for (const each of [twilio, vonage, voicePartner, world]) await each[Symbol.asyncDispose]();
});

async function examine(changes: Record<string, string> = {}): Promise<{ code: number; findings: Finding[] }> {
  let text = "";
  const code = await doctor(["--json"], { ...environment, ...changes }, (part) => (text += part));
  const answer = JSON.parse(text) as { ok: boolean; findings: Finding[] };
  expect(answer.ok).toBe(code === 0);
  // Neither a password nor a token in what is shown to people.
  expect(text).not.toMatch(new RegExp(`${twilio.authToken}|${FakeVonage.API_SECRET}|${voicePartner.apiKey}|hunter2`));
  return { code, findings: answer.findings };
}

const faultsIn = (findings: Finding[]) =>
  Object.fromEntries(findings.filter(({ state }) => state === "fault").map(({ check, says }) => [check, says]));

test("all is well → exit code 0, and each thing by name", async () => {
  const { code, findings } = await examine();
  expect(faultsIn(findings)).toEqual({});
  expect(code).toBe(0);
  const said = Object.fromEntries(findings.map(({ check, state }) => [check, state]));
  for (const check of ["redis version", "redis eviction", "clock of Redis", "clock of Postgres", "clock of the web"])
    expect({ check, state: said[check] }).toEqual({ check, state: "ok" });
  for (const provider of ["twilio", "twilio-voice", "vonage", "voicepartner"])
    expect(findings).toContainEqual({ check: `provider ${provider}`, state: "ok", says: "takes the credentials" });
  expect(findings).toContainEqual({
    check: "database schema",
    state: "ok",
    says: `has all ${MIGRATIONS.length} migrations`,
  });
});

test("several things are wrong → all of them are told at once, each with what to do", async () => {
  const { code, findings } = await examine({ API_SECRET: "", PORT: "none", REDIS_URL: `redis://:hunter2@${NOWHERE}` });
  expect(code).toBe(1);
  expect(Object.keys(faultsIn(findings)).toSorted()).toEqual(["redis", "variable API_SECRET", "variable PORT"]);
  expect(faultsIn(findings)["redis"]).toContain("cannot be connected to: connect ECONNREFUSED");
  // The database is looked at all the same.
  expect(findings).toContainEqual(expect.objectContaining({ check: "database schema", state: "ok" }));
  for (const { state, advice = "" } of findings) expect(state === "ok" || advice.length > 10).toBe(true);
});

test("a key with a line break, and a cluster that is away → said, and the key never", async () => {
  const changes = { SUPABASE_SERVICE_KEY: "hunter2\nhunter2", REDIS_URL: `redis+cluster://${NOWHERE},${NOWHERE}` };
  expect(faultsIn((await examine(changes)).findings)).toEqual({
    "variable SUPABASE_SERVICE_KEY": "is not valid: holds blanks or line breaks",
    redis: expect.stringContaining("cannot be connected to"),
  });
});

test("credentials that a vendor refuses, and an account that it has suspended → said of each", async () => {
  twilio.accountStatus = "suspended";
  const wrong = { VONAGE_API_SECRET: "wrong", VOICEPARTNER_API_KEY: "wrong" };
  expect(faultsIn((await examine(wrong)).findings)).toEqual({
    "provider twilio": "takes the credentials, but the account is suspended",
    "provider twilio-voice": "takes the credentials, but the account is suspended",
    "provider vonage": "refuses the credentials",
    "provider voicepartner": "refuses the key (status 200)",
  });
  twilio.accountStatus = "active";
  const other = { TWILIO_AUTH_TOKEN: "wrong", VONAGE_API_BASE_URL: `http://${NOWHERE}` };
  expect(faultsIn((await examine(other)).findings)).toEqual({
    "provider twilio": "refuses the credentials",
    "provider twilio-voice": "refuses the credentials",
    "provider vonage": expect.stringContaining("could not be asked: connect ECONNREFUSED"),
  });
});

test("a database that is away, refuses the key, or lacks migrations → says which", async () => {
  expect(faultsIn((await examine({ SUPABASE_URL: `http://${NOWHERE}` })).findings)).toEqual({
    database: expect.stringContaining("cannot be reached: connect ECONNREFUSED"),
  });
  for (const SUPABASE_SERVICE_KEY of [world.database.supabaseAnonKey, "nonsense"]) {
    expect(faultsIn((await examine({ SUPABASE_SERVICE_KEY })).findings)).toEqual({ database: "refuses the key" });
  }
  const [, second = "", third = ""] = MIGRATIONS.map((file) => file.split("_")[0]);
  const table = "supabase_migrations.schema_migrations";
  const schema = async () => (await examine()).findings.find(({ check }) => check === "database schema");
  const says = `lacks migrations: ${second}, ${third}`;
  await world.sql.query(`delete from ${table} where version = any($1)`, [[second, third]]);
  await world.sql.query(`insert into ${table} (version, name) values ('20991231000000', 'later')`);
  expect(await schema()).toMatchObject({ state: "fault", says, advice: expect.stringContaining("supabase db push") });
  // One that was made before the files were arranged anew has recorded others too.
  await world.sql.query(`insert into ${table} (version) values ('20261121000001')`);
  expect(await schema()).toMatchObject({ says, advice: expect.stringContaining("the release before this one") });
  await world.sql.query(`insert into ${table} (version) select unnest($1::text[])`, [[second, third]]);
  expect((await examine()).findings).toContainEqual(
    expect.objectContaining({ state: "warning", says: "has newer migrations: 20991231000000" }),
  );
});

test("production without any credentials → one fault, and not a warning for each channel", () => {
  const given = { ...world.environment, NODE_ENV: "production" };
  const channelsIn = (environment: Record<string, string>) =>
    checkConfiguration(readConfig(environment, CHANNELS)).filter(({ check }) => check.startsWith("channel"));
  expect(channelsIn(given)).toMatchObject([
    { check: "channels", state: "fault", says: "are all off: the service can reach nobody" },
  ]);
  expect(channelsIn({ ...given, SMS_PROVIDER: "sandbox" }).map(({ state }) => state)).not.toContain("fault");
});

test("a Redis that is old, throws jobs away, keeps nothing or is late → said of each", async () => {
  const info = [
    "redis_version:6.2.0",
    "maxmemory_policy:allkeys-lru",
    "aof_enabled:0",
    "rdb_last_bgsave_status:ok",
    "used_memory:90",
    "maxmemory:100",
  ];
  const late = String(Math.floor(Date.now() / 1000) - 60);
  const found = await checkRedis({ info: async () => info.join("\r\n"), time: async () => [late, "0"] } as never);
  expect(found.map(({ check, state }) => `${check}: ${state}`)).toEqual([
    "redis version: fault",
    "redis eviction: fault",
    "redis persistence: warning",
    "redis memory: warning",
    "clock of Redis: fault",
  ]);
});

test.each([
  [1999, 0, "ok"],
  [-2000, 0, "warning"],
  [2500, 1000, "ok"],
  [29_999, 0, "warning"],
  [-30_000, 0, "fault"],
] as const)("a clock that is %i ms ahead, give or take %i → %s", (aheadMs, uncertainMs, state) => {
  expect(clockFinding("it", aheadMs, uncertainMs)).toMatchObject({ state });
});

test("the command → its words, and exit code 1 when something is wrong", async () => {
  const { code, text } = await new Promise<{ code: unknown; text: string }>((resolve) => {
    const env = { ...environment, SUPABASE_URL: `http://${NOWHERE}` };
    execFile(process.execPath, ["src/doctor.ts"], { env }, (error, text) => resolve({ code: error?.code, text }));
  });
  expect(code).toBe(1);
  expect(text).toMatch(/^ok {7}redis version: \d/m);
  expect(text).toMatch(/^FAULT {4}database: cannot be reached: .*\n {9}→ Compare SUPABASE_URL/m);
  expect(text).toMatch(/\n1 fault, \d warnings?\n$/);
});
