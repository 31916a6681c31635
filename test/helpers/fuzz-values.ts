import fc from "fast-check";
import type { JsonSchema } from "../../src/routes/openapi-document.ts";

/** Ids and names that exist, so that some requests find what they ask for. */
export interface Known {
  /** An account that no path names, so that nothing is done to it: for what is to be accepted. */
  steady: string;
  accounts: string[];
  hunts: string[];
  jobs: string[];
  messages: string[];
  templates: string[];
  recurrences: string[];
  endpoints: string[];
  deliveries: string[];
}

/** A number beyond every limit, written into JSON as it stands. */
const RAW = "\u0001raw:";

const HOSTILE = [
  "",
  " ",
  "a\0b",
  "a\ud800b",
  "\udfff tail",
  "é",
  "🏠".repeat(50),
  "\u202e\u200b",
  "a\r\nSet-Cookie: stolen=1",
  "'; drop table messages; --",
  "1) or (1=1",
  "in.(a,b)",
  "*",
  "%",
  "__proto__",
  "constructor",
  "../../etc/passwd",
  "http://127.0.0.1:1/",
  "<script>alert(1)</script>",
  "${7*7}{{7*7}}",
  "null",
  "NaN",
  "-1",
  "9".repeat(400),
  "x".repeat(201),
  "x".repeat(5000),
  "2026-02-30T00:00:00Z",
  "0000-01-01T00:00:00Z",
  "9999-12-31T23:59:59.999999999+23:59",
];

export const hostileText = fc.oneof(
  // What JavaScript and JSON can say, and Postgres cannot.
  { weight: 1, arbitrary: fc.constantFrom("a\0b", "a\ud800b", "\udfffa") },
  { weight: 3, arbitrary: fc.constantFrom(...HOSTILE) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 60 }) },
  // Code units one by one: half of a surrogate pair is among them.
  {
    weight: 1,
    arbitrary: fc
      .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
      .map((units) => String.fromCharCode(...units)),
  },
);

const hostileNumber = fc.oneof(
  fc.constantFrom(0, -0, -1, 1.5, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, 5e-324),
  fc.constantFrom(
    `${RAW}1e999`,
    `${RAW}-1e999`,
    `${RAW}${"9".repeat(300)}`,
    `${RAW}1e-999`,
    `${RAW}0.${"3".repeat(300)}`,
  ),
);

const deep = fc.integer({ min: 50, max: 5000 }).map((depth) => `${RAW}${"[".repeat(depth)}1${"]".repeat(depth)}`);
const polluting = fc
  .constantFrom("__proto__", "constructor", "prototype", String.raw`\u005f_proto__`)
  .map((key) => `${RAW}{"${key}":{"status":"sent"}}`);

/** Any JSON, the awkward first. */
export const hostileJson: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 4, arbitrary: hostileText },
  { weight: 2, arbitrary: hostileNumber },
  { weight: 1, arbitrary: deep },
  { weight: 1, arbitrary: polluting },
  { weight: 2, arbitrary: fc.constantFrom(null, true, false, [], {}, [[]], [null], { length: 1e9 }) },
  { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
);

/** A body in which all of them have to fit would hardly ever be right. */
const TIMES = { sendAt: 3, timeZone: 5, windows: 2, until: 3, limits: 3 };
const TEXTS = { template: 3, templates: 1, templateId: 2, templateVersion: 0, variants: 1 };

/** Fields that stand in for one another: how often each is given, of ten times. */
const RIVALS: Record<string, number> = {
  audioUrl: 5,
  mediaUrl: 7,
  mediaId: 2,
  channel: 9,
  channels: 1,
  ...TEXTS,
  ...TIMES,
};

function sometimes(key: string, value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const given = RIVALS[key] ?? 8;
  return fc.oneof({ weight: given, arbitrary: value }, { weight: 10 - given, arbitrary: fc.constant(undefined) });
}

/** Values that fit a schema, or nearly: what a name means counts for more than its type. */
export function fitting(schema: JsonSchema, name: string, known: Known): fc.Arbitrary<unknown> {
  const meant = byMeaning(name, known);
  if (meant) return meant;
  if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as unknown[]));
  if (Array.isArray(schema.anyOf)) {
    return fc.oneof(...(schema.anyOf as JsonSchema[]).map((each) => fitting(each, name, known)));
  }
  switch (schema.type) {
    case "null":
      return fc.constant(null);
    case "object": {
      const required = schema.required ?? [];
      const properties = Object.entries(schema.properties ?? {}).map(([key, property]) => {
        const value = fitting(property, key, known);
        return [key, required.includes(key) ? value : sometimes(key, value)] as const;
      });
      const made = fc.record(Object.fromEntries(properties));
      const ready = readyBody(schema, known) ?? READY[name];
      return ready ? fc.oneof({ weight: 2, arbitrary: made }, { weight: 1, arbitrary: fc.constant(ready) }) : made;
    }
    case "array":
      return fc.array(fitting(schema.items ?? {}, name, known), { minLength: 1, maxLength: 4 });
    case "integer":
    case "number":
      return fc.integer({ min: 1, max: 1000 });
    case "boolean":
      return fc.boolean();
    default:
      return fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });
  }
}

const CONTACT = { adId: "ad", recipientPhone: "+33612345678", channel: "sms", message: "Bonjour" };
/** Parts of bodies that are big: with made ones alone hardly any would be right as a whole. */
const READY: Record<string, object> = { hunt: { contacts: [CONTACT] } };

function readyBody({ properties = {} }: JsonSchema, { steady: accountId }: Known): object | undefined {
  if ("cron" in properties) return { accountId, name: "N", cron: "0 9 1 1 *", timeZone: "UTC", ...READY };
  if ("enabled" in properties && "events" in properties) return { events: null };
  if ("mediaUrl" in properties && !("adId" in properties)) {
    return { accountId, recipientPhone: "+33612345678", mediaUrl: "https://example.com/a.pdf" };
  }
  if ("contactName" in properties && !("adId" in properties)) {
    return { accountId, recipientPhone: "+33612345678", contactName: "Zoé", contactPhone: "+33145678901" };
  }
  return "huntId" in properties && "contacts" in properties
    ? { huntId: "a hunt of the fuzz", accountId, contacts: [CONTACT] }
    : undefined;
}

const OWN_POLICY = { base: "marketing-eu", hours: { sms: "any" }, stopNotice: "STOP au 36111" };

const WINDOWS = { days: [1, 2, 3, 4, 5, 6, 7], from: "09:00", to: "18:00" };

function byMeaning(name: string, known: Known): fc.Arbitrary<unknown> | undefined {
  const { accounts, hunts, jobs, messages, templates, recurrences, endpoints, deliveries } = known;
  switch (name) {
    case "endpointId":
      return fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...endpoints) }, { weight: 1, arbitrary: fc.uuid() });
    case "deliveryId":
      return fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom(...deliveries) },
        { weight: 1, arbitrary: fc.nat().map(String) },
      );
    case "url":
      return fc.oneof(
        { weight: 6, arbitrary: fc.nat().map((n) => `https://hooks.example.com/${n}`) },
        {
          weight: 1,
          arbitrary: fc.constantFrom("http://example.com/", "https://10.0.0.1/", "https://a:b@example.com/"),
        },
      );
    case "events":
      return fc.constantFrom<unknown>(null, ["message.*"], ["hunt.completed", "message.reply"], ["message"], []);
    case "accountId":
      return fc.constantFrom(...accounts, "acc_nobody");
    case "huntId":
      return fc.oneof(
        fc.constantFrom(...hunts),
        fc.uuid().map((id) => `hunt_${id}`),
      );
    case "jobId":
      return fc.oneof(fc.constantFrom(...jobs, ...messages), fc.uuid());
    case "messageId":
      return fc.oneof(fc.constantFrom(...messages), fc.uuid());
    case "recurrenceId":
      return fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...recurrences) }, { weight: 1, arbitrary: fc.uuid() });
    case "cron":
      return fc.constantFrom("0 9 * * 1", "0 9 1 * *", "0 9 1 1 *", "0 9 * * 1-5", "0 0 30 2 *", "60 * * * *");
    case "until":
      return fc.constantFrom("2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z");
    case "templateId":
      return fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...templates) }, { weight: 1, arbitrary: fc.uuid() });
    case "template":
      return fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom("Bonjour {{ name | default: 'vous' }}", "{{ name }}", "Libre ?") },
        { weight: 1, arbitrary: hostileText },
      );
    case "variables":
      return fc.constantFrom<unknown>({}, { name: "Zoé" }, { name: null }, { "a b": 1 }, { name: { a: 1 } });
    case "queue":
      return fc.constantFrom("hunt", "sms", "whatsapp", "voice", "webhooks", "scraping", "none");
    case "adId":
      return fc.nat({ max: 50 }).map((n) => `ad_${n}`);
    case "phone":
    case "recipientPhone":
    case "senderPhone":
      return fc.oneof(
        fc.nat({ max: 9999 }).map((n) => `+3361234${String(n).padStart(4, "0")}`),
        fc.constantFrom("0612345678", "0033612345678", "+33 6 12 34 56 78", "+33612340004", "12", "+800123"),
      );
    case "message":
    case "text":
      return fc.string({ unit: "grapheme", minLength: 1, maxLength: 200 });
    case "audioUrl":
      return fc.constantFrom("https://example.com/a.mp3", "http://10.0.0.1/a", "http://[::1]:1/", "javascript:1");
    case "mediaUrl":
      return fc.oneof(
        { weight: 4, arbitrary: fc.constant("https://example.com/a.jpg") },
        { weight: 1, arbitrary: fc.constantFrom("http://2130706433/", "data:,x", "https://a:b@example.com/") },
      );
    case "mediaId":
    case "sessionId":
      return fc.uuid();
    case "fileName":
      return fc.constantFrom("a.pdf", "Estimation n°4.pdf", "Plan", "é", "../a.pdf", "a\u202efdp.exe");
    case "latitude":
    case "longitude":
      return fc.oneof({ weight: 6, arbitrary: fc.double({ min: -90, max: 90, noNaN: true }) }, fc.integer());
    case "contactPhone":
      return fc.constantFrom("+33145678901", "0033145678901", "0145678901");
    case "options":
      return fc.constantFrom(["Oui", "Non"], ["Le matin", "L'après-midi", "Le soir"], ["Oui", "Oui "], []);
    case "defaultCountry":
      return fc.constantFrom("FR", "BE", "US", "ZZ");
    case "policy":
      return fc.constantFrom<unknown>(null, "country", "marketing-fr", "marketing", { perDay: -1 }, OWN_POLICY);
    case "expiresAt":
      return fc.constantFrom("2099-01-01T00:00:00Z", "2020-01-01T00:00:00+02:00", "9999-12-31T23:59:59Z");
    case "sendAt":
      return fc.constantFrom(
        "2019-01-01T00:00:00+02:00",
        "2019-06-01T12:00:00Z",
        "2019-06-01T12:00:00Z",
        "2019-03-31T02:30",
      );
    case "timeZone":
      return fc.constantFrom("Europe/Paris", "America/New_York", "UTC");
    case "windows":
      return fc.constantFrom<unknown>(
        WINDOWS,
        { ...WINDOWS, from: "00:00", to: "24:00" },
        { ...WINDOWS, spread: true },
        { ...WINDOWS, timeZone: "Europe/Paris" },
        { ...WINDOWS, timeZone: "+01:00" },
        { ...WINDOWS, to: "08:00" },
      );
    case "limits":
      return fc.constantFrom<unknown>(
        null,
        [],
        [{ perDay: 5 }],
        [{ sender: "*", perSecond: 0.1 }],
        [{ perMinute: 0 }],
        [{}],
      );
    case "cursor":
      // Of most lists a number, of failed jobs a moment and an id, of hunts an id.
      return fc.oneof(fc.nat().map(String), fc.constant("1700000000000-5"), fc.constantFrom(...hunts));
    default:
      return undefined;
  }
}

/** What fits, with something in it replaced, taken out or added. */
export function mutated(schema: JsonSchema, known: Known): fc.Arbitrary<unknown> {
  return fc
    .tuple(
      fitting(schema, "", known),
      fc.array(
        fc.tuple(fc.nat(), fc.constantFrom("text", "text", "replace", "remove", "add"), hostileText, hostileJson),
        { minLength: 1, maxLength: 3, size: "xsmall" },
      ),
    )
    .map(([given, changes]) => {
      // Copies: a constant of the generator may come in several places, or within itself.
      const value = structuredClone(given);
      for (const [place, change, key, replacement] of changes) {
        const other = structuredClone(replacement);
        const holders = holdersIn(value);
        const holder = holders[place % holders.length];
        if (holder === undefined) return other;
        const keys = Object.keys(holder);
        const old = keys[place % Math.max(1, keys.length)];
        // Not `holder[key] = …`: it would change this process's own prototypes.
        if (change === "add" || old === undefined) define(holder, Array.isArray(holder) ? "0" : key, other);
        else if (change === "remove") delete holder[old];
        else if (change === "text" && typeof holder[old] === "string") define(holder, old, key);
        else define(holder, old, other);
      }
      return value;
    });
}

function define(holder: object, key: string, value: unknown): void {
  Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
}

function holdersIn(value: unknown): Record<string, unknown>[] {
  if (typeof value !== "object" || value === null) return [];
  return [value as Record<string, unknown>, ...Object.values(value).flatMap(holdersIn)];
}

/** JSON text, with what is marked `RAW` written as it is. */
export function textOf(value: unknown): string {
  return (JSON.stringify(value) ?? "").replaceAll(
    new RegExp(`"${JSON.stringify(RAW).slice(1, -1).replaceAll("\\", "\\\\")}((?:[^"\\\\]|\\\\.)*)"`, "g"),
    (_, raw: string) => JSON.parse(`"${raw}"`) as string,
  );
}
