import { describe, expect, test } from "vitest";
import { createPolicies, KINDS, POLICY_NAMES, type Policy } from "../../../src/compliance/policy.ts";
import { createRules } from "../../../src/compliance/rules.ts";
import { ZONE_TABLE } from "../../../src/compliance/zone-table.ts";
import { zonesOf } from "../../../src/compliance/zones.ts";
import { readConfig } from "../../../src/config.ts";
import { CHANNELS } from "../../../src/modules.ts";

const policies = createPolicies("country");

describe("an account's policy", () => {
  test.each([
    ["FR", "marketing-fr"],
    ["RE", "marketing-fr"],
    ["NC", "marketing-fr"],
    ["US", "marketing-us"],
    ["PR", "marketing-us"],
    ["DE", "marketing-eu"],
    // Where we know of no rules of their own, the strictest that we have for several countries.
    ["JP", "marketing-eu"],
    [undefined, "marketing-eu"],
  ])("none of its own, for somebody in %s → %s", (country, name) => {
    expect(policies(null, country)).toBe(policies(name, "FR"));
    expect(policies("country", country)).toBe(policies(name, "FR"));
  });

  test("each by its name → wants consent and counts, but for none", () => {
    for (const name of POLICY_NAMES) {
      const policy = policies(name, "FR") as Policy;
      const held = name !== "none";
      expect(KINDS.map((kind) => policy.consent[kind])).toEqual(Array(3).fill(held));
      expect([policy.perDay, policy.per30Days]).toEqual(held ? [1, 4] : [null, null]);
      expect(KINDS.every((kind) => (policy.hours[kind] === "any") === !held)).toBe(true);
    }
  });

  test("values of its own → stand in place of those of their base, and null takes a cap away", () => {
    const policy = policies({ base: "marketing-us", perDay: null, consent: { sms: false } }, "FR") as Policy;
    const base = policies("marketing-us", "FR") as Policy;
    expect(policy).toEqual({ ...base, perDay: null, consent: { ...base.consent, sms: false } });
    expect(policies({}, "FR")).toEqual(policies("none", "FR"));
  });

  test("the same values → the same object, so that what is found out for it can be kept", () => {
    expect(policies({ perDay: 2 }, "FR")).toBe(policies({ perDay: 2 }, "FR"));
  });

  test.each([
    "marketing",
    7,
    [],
    { base: "x" },
    { hours: { sms: "always" } },
    { hours: { sms: [{ days: [0], from: "09:00", to: "10:00" }] } },
    { hours: { sms: [{ days: [1], from: "22:00", to: "06:00" }] } },
    { hours: { sms: [{ days: [1], from: "9:00", to: "10:00" }] } },
    { hours: { sms: [{ days: [], from: "09:00", to: "10:00" }] } },
    { hours: { fax: [] } },
    { perDay: -1 },
    { perDay: "1" },
    { holidays: "de" },
    { consent: { sms: null } },
    { windows: {} },
  ])("%j → no policy, in words", (stored) => {
    expect(policies(stored, "FR")).toEqual(expect.stringContaining("The account's policy is none of"));
  });
});

describe("DEFAULT_POLICY", () => {
  const environment = {
    API_SECRET: "0123456789abcdef",
    REDIS_URL: "redis://x",
    SUPABASE_URL: "http://x",
    SUPABASE_SERVICE_KEY: "x",
  };
  const read = (extra: object) => readConfig({ ...environment, ...extra }, CHANNELS).compliance;

  test("production → each country's, elsewhere none; or what is said", () => {
    expect(read({ NODE_ENV: "production" }).defaultPolicy).toBe("country");
    expect(read({}).defaultPolicy).toBe("none");
    expect(read({ NODE_ENV: "production", DEFAULT_POLICY: "marketing-fr" }).defaultPolicy).toBe("marketing-fr");
    expect(() => read({ DEFAULT_POLICY: "marketing-uk" })).toThrow(/DEFAULT_POLICY: is not valid/);
  });

  test("SUPPRESSION_SALT → absent by default, and refused when it is short", () => {
    expect(read({}).salt).toBeUndefined();
    expect(() => read({ SUPPRESSION_SALT: "short" })).toThrow(/SUPPRESSION_SALT: is not valid/);
  });
});

test("a ruling → is of the moment that it is asked for, in spans", () => {
  let now = Date.parse("2026-11-23T07:59:30+01:00");
  const rules = createRules({ defaultPolicy: "country", clock: { now: () => now, monotonic: () => now } });
  const ask = () => rules({ policy: null, consent: true, recipient: "+33612345678", kind: "sms" });
  expect(ask()).toMatchObject({ opensInMs: 30_000, why: expect.stringContaining("2026-11-23T07:00:00.000Z") });
  now += 29_999;
  expect(ask().opensInMs).toBe(1);
  now += 1;
  const open = ask();
  expect(open).toMatchObject({ skip: undefined, opensInMs: undefined });
  expect(open.caps.map(({ withinMs, max }) => [withinMs / 3_600_000, max])).toEqual([
    [8, 1],
    [30 * 24, 4],
  ]);
  now += 3_600_000;
  expect(ask().caps[0]?.withinMs).toBe(9 * 3_600_000);
});

test("the table of zones → names zones that the platform knows, and each beginning once", () => {
  const lines = ZONE_TABLE.trim().split("\n");
  const prefixes = lines.flatMap((line) => line.split(" ").slice(1));
  expect(new Set(prefixes).size).toBe(prefixes.length);
  expect(prefixes.filter((prefix) => !/^\d{1,8}$/.test(prefix))).toEqual([]);
  const zones = new Set(lines.flatMap((line) => (line.split(" ")[0] ?? "").split(",")));
  for (const zone of zones) expect(() => new Intl.DateTimeFormat("en", { timeZone: zone }), zone).not.toThrow();
  expect(zonesOf("+33612345678")).toEqual(["Europe/Paris"]);
  expect(zonesOf("+6281234567")).toContain("Asia/Jakarta");
  expect(zonesOf("+0")).toEqual([]);
});
