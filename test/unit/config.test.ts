import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/config/faults.ts";
import { readConfig, type Config } from "../../src/config.ts";
import { CHANNELS } from "../../src/modules.ts";

const COMPLETE = {
  API_SECRET: "a-secret-of-sixteen-or-more",
  REDIS_URL: "redis://127.0.0.1:6379",
  SUPABASE_URL: "https://abc.supabase.co",
  SUPABASE_SERVICE_KEY: "key",
};
const TWILIO = { TWILIO_ACCOUNT_SID: `AC${"0".repeat(32)}`, TWILIO_AUTH_TOKEN: "token", TWILIO_FROM: "+33987654321" };

const read = (extra: Record<string, string | undefined> = {}): Config =>
  readConfig({ ...COMPLETE, ...extra }, CHANNELS);

/** The variables that are at fault, and the words for each. */
function faultsOf(environment: Record<string, string | undefined>): Record<string, string> {
  try {
    readConfig(environment, CHANNELS);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { pointer, detail } of error.faults) expect(error.message).toContain(`${pointer}: ${detail}`);
    return Object.fromEntries(error.faults.map(({ pointer, detail }) => [pointer, detail]));
  }
  return {};
}

/** Without the functions, which each reading makes anew. */
const values = (config: Config): unknown => JSON.parse(JSON.stringify(config));

/** One for each queue: siblings go together. */
const providers = (config: Config) =>
  Object.fromEntries(
    config.channels
      .filter(({ channel }, i) => config.channels.findIndex((other) => other.channel.queue === channel.queue) === i)
      .map(({ channel, provider }) => [channel.name, provider?.definition.name]),
  );

describe("faults", () => {
  test("nothing at all → every missing variable at once", () => {
    expect(faultsOf({})).toEqual({
      API_SECRET: "is missing",
      REDIS_URL: "is missing",
      SUPABASE_URL: "is missing",
      SUPABASE_SERVICE_KEY: "is missing",
    });
  });

  test("many kinds of faults → all of them at once, once each, in words", () => {
    const faults = faultsOf({
      API_SECRET: "one,,two",
      REDIS_URL: "http://not-redis",
      SUPABASE_URL: "abc.supabase.co",
      PORT: "eighty",
      LOG_LEVEL: "loud",
      JOB_ATTEMPTS: "0",
      NODE_ENV: "prod",
      SMS_PROVIDER: "pigeon",
      SANDBOX_LATENCY_MS: "-1",
      TWILIO_AUTH_TOKEN: "token",
      SENDING_LIMITS: '[{"perSecond":0}]',
      WORKER_CONCURRENCY: "1001",
    });
    expect(Object.keys(faults).toSorted()).toEqual([
      "API_SECRET",
      "JOB_ATTEMPTS",
      "LOG_LEVEL",
      "NODE_ENV",
      "PORT",
      "REDIS_URL",
      "SANDBOX_LATENCY_MS",
      "SENDING_LIMITS.0.perSecond",
      "SMS_PROVIDER",
      "SUPABASE_SERVICE_KEY",
      "SUPABASE_URL",
      "TWILIO_ACCOUNT_SID",
      "TWILIO_FROM",
      "WORKER_CONCURRENCY",
    ]);
    for (const detail of Object.values(faults)) expect(detail).toMatch(/\w+ \w+/);
    expect(faults).toMatchObject({
      JOB_ATTEMPTS: "is not valid: must be at least 1",
      NODE_ENV: 'is not valid: must be one of "development", "test", "production"',
      PORT: "is not valid: expected a number, got something that is not a number",
      SANDBOX_LATENCY_MS: "is not valid: must be at least 0",
      "SENDING_LIMITS.0.perSecond": expect.stringMatching(/^is not valid: must be /),
      WORKER_CONCURRENCY: "is not valid: must be at most 1000",
    });
  });

  test("a fault of the sandbox, which three channels share → is told once", () => {
    const error = (() => {
      try {
        return read({ SANDBOX_LATENCY_MS: "soon" });
      } catch (caught) {
        return caught as ConfigError;
      }
    })();
    expect((error as ConfigError).faults).toHaveLength(1);
  });

  test("a limit's sender that is no number of France → is named; a French one is kept in E.164", () => {
    const limits = (sender: string): string => JSON.stringify([{ sender, perDay: 1 }]);
    expect(faultsOf({ ...COMPLETE, SENDING_LIMITS: limits("(415) 555-0001") })).toEqual({
      "SENDING_LIMITS.0.sender": "is not valid: is no number of FR; write it with + and its country code",
    });
    const kept = ["06 12 34 56 78", "+32470123456", "+999123456789", "*", "36111", "Agence"].map(
      (sender) => read({ ...COMPLETE, SENDING_LIMITS: limits(sender) }).limits,
    );
    const senders = ["+33612345678", "+32470123456", "+999123456789", "*", "36111", "Agence"];
    expect(kept).toEqual(senders.map((sender) => [{ sender, perDay: 1 }]));
  });

  test("secrets → never stand in the message", () => {
    const secret = "hunter2-hunter2-hunter2";
    let message = "";
    try {
      readConfig(
        {
          API_SECRET: `${secret},`,
          SUPABASE_SERVICE_KEY: secret,
          TWILIO_AUTH_TOKEN: secret,
          REDIS_URL: `http://:${secret}@h`,
        },
        CHANNELS,
      );
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toContain("API_SECRET");
    expect(message).not.toContain(secret);
  });

  test.each([
    ["PORT", "65536"],
    ["PORT", "3000.5"],
    ["PORT", "-1"],
    ["MAX_BODY_BYTES", "10"],
    ["WORKER_CONCURRENCY", "0"],
    ["SHUTDOWN_TIMEOUT_MS", "soon"],
    ["TRUST_PROXY", "true"],
    ["REDIS_URL", "localhost:6379"],
    ["REDIS_URL", "redis://:50%@h"],
    ["REDIS_URL", "redis+sentinel://:50%@a,b/mine"],
    ["REDIS_URL", "redis+cluster://:50%@a,b"],
    ["SUPABASE_SERVICE_KEY", "one\ntwo"],
    ["ALERT_WEBHOOK_URL", "https://hooks.example.com:8065/x"],
    ["ALERT_WEBHOOK_URL", "http://10.0.0.1/x"],
    ["SUPABASE_URL", "postgres://localhost/db"],
  ])("%s=%s → is named", (name, value) => {
    expect(Object.keys(faultsOf({ ...COMPLETE, [name]: value }))).toEqual([name]);
  });
});

describe("values", () => {
  test("only what is needed → the documented defaults", () => {
    expect(read()).toMatchObject({
      production: false,
      logLevel: "info",
      http: {
        host: "0.0.0.0",
        port: 3000,
        apiSecrets: [COMPLETE.API_SECRET],
        maxBodyBytes: 32 * 1024 * 1024,
        trustProxy: 0,
      },
      jobs: { attempts: 3, backoffMs: 2000 },
      shutdownTimeoutMs: 25_000,
    });
  });

  test("empty variables → count as absent", () => {
    const config = read({
      PORT: "",
      SMS_PROVIDER: "",
      LOG_LEVEL: "",
      ...Object.fromEntries(Object.keys(TWILIO).map((name) => [name, ""])),
    });
    expect(values(config)).toEqual(values(read()));
    expect(faultsOf({ ...COMPLETE, REDIS_URL: "" })).toEqual({ REDIS_URL: "is missing" });
  });

  test("several secrets → each is good, without the blanks around it", () => {
    expect(read({ API_SECRET: "first-secret-0123456, second-secret-012345" }).http.apiSecrets).toEqual([
      "first-secret-0123456",
      "second-secret-012345",
    ]);
  });

  test.each([" ", ",", "one,", ", one"])("the secrets %j → are refused", (secrets) => {
    expect(Object.keys(faultsOf({ ...COMPLETE, API_SECRET: secrets }))).toEqual(["API_SECRET"]);
  });

  test("variables that are not ours → are ignored", () => {
    expect(values(read({ HOME: "/root", NODE_OPTIONS: "--x", __proto__: undefined }))).toEqual(values(read()));
  });
});

describe("which provider", () => {
  test("no credentials, not in production → the sandbox for every channel", () => {
    expect(providers(read())).toEqual({ whatsapp_text: "sandbox", sms: "sandbox", ringless_voice: "sandbox" });
  });

  test("Twilio's credentials → Twilio for SMS, the sandbox for the others", () => {
    expect(providers(read(TWILIO))).toEqual({ whatsapp_text: "sandbox", sms: "twilio", ringless_voice: "sandbox" });
  });

  test("the channels of WhatsApp → one provider for all of them", () => {
    const siblings = read().channels.filter(({ channel }) => channel.queue === "whatsapp");
    expect(siblings.length).toBe(8);
    expect(new Set(siblings.map(({ provider }) => provider?.definition)).size).toBe(1);
  });

  test("SMS_PROVIDER=sandbox beside Twilio's credentials → the sandbox", () => {
    expect(providers(read({ ...TWILIO, SMS_PROVIDER: "sandbox" }))["sms"]).toBe("sandbox");
  });

  test("SMS_PROVIDER=twilio without credentials → is refused, with the variables that it reads", () => {
    const faults = faultsOf({ ...COMPLETE, SMS_PROVIDER: "twilio" });
    expect(Object.keys(faults)).toEqual(["SMS_PROVIDER"]);
    for (const name of Object.keys(TWILIO)) expect(faults["SMS_PROVIDER"]).toContain(name);
  });

  test.each([
    [["TWILIO_ACCOUNT_SID"], ["TWILIO_AUTH_TOKEN", "TWILIO_FROM"]],
    [["TWILIO_AUTH_TOKEN"], ["TWILIO_ACCOUNT_SID", "TWILIO_FROM"]],
    [["TWILIO_FROM"], ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]],
    [["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"], ["TWILIO_FROM"]],
  ])("only %j of Twilio's group → the others are named, the sandbox does not step in", (given, missing) => {
    const half = Object.fromEntries(given.map((name) => [name, TWILIO[name as keyof typeof TWILIO]]));
    expect(Object.keys(faultsOf({ ...COMPLETE, ...half })).toSorted()).toEqual(missing.toSorted());
    expect(Object.keys(faultsOf({ ...COMPLETE, ...half, NODE_ENV: "production" })).toSorted()).toEqual(
      missing.toSorted(),
    );
  });

  test("an unknown provider → is refused with those that there are", () => {
    expect(faultsOf({ ...COMPLETE, SMS_PROVIDER: "pigeon" })["SMS_PROVIDER"]).toMatch(/"twilio".*"vonage".*"sandbox"/);
    expect(faultsOf({ ...COMPLETE, WHATSAPP_PROVIDER: "twilio" })["WHATSAPP_PROVIDER"]).toMatch(/"sandbox"/);
  });
});

describe("production", () => {
  const production = { NODE_ENV: "production" };

  test("no credentials → every channel is off, and says what to set", () => {
    const config = read(production);
    expect(providers(config)).toEqual({ whatsapp_text: undefined, sms: undefined, ringless_voice: undefined });
    for (const { channel, offBecause } of config.channels) expect(offBecause).toContain(channel.providerVariable);
  });

  test("the sandbox → only where it is named", () => {
    expect(providers(read({ ...production, VOICE_PROVIDER: "sandbox" }))).toEqual({
      whatsapp_text: undefined,
      sms: undefined,
      ringless_voice: "sandbox",
    });
  });

  test("Twilio's credentials → SMS is on", () => {
    expect(providers(read({ ...production, ...TWILIO }))["sms"]).toBe("twilio");
  });

  test("webhooks to the machine itself → are refused, in words", () => {
    const open = { ...COMPLETE, API_SECRET: "a-secret-of-sixteen-or-more", WEBHOOK_ALLOW_LOOPBACK: "true" };
    expect(faultsOf({ ...open, ...production })).toEqual({
      WEBHOOK_ALLOW_LOOPBACK: expect.stringContaining("developer's machine"),
    });
    expect(faultsOf({ ...open, ...production, PORT: "none" })).toEqual({
      PORT: expect.any(String),
      WEBHOOK_ALLOW_LOOPBACK: expect.stringContaining("developer's machine"),
    });
    expect(faultsOf(open)).toEqual({});
  });

  test.each(["short", "a-secret-of-sixteen-or-more,short"])("the secrets %j → are too short", (secrets) => {
    expect(faultsOf({ ...COMPLETE, ...production, API_SECRET: secrets })["API_SECRET"]).toContain("16");
    expect(faultsOf({ ...COMPLETE, API_SECRET: secrets })).toEqual({});
  });
});
