import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nextAllowed, startOfDay, type Allowed } from "../../../src/compliance/hours.ts";
import { createPolicies, KINDS, type Hours, type Kind, type Policy } from "../../../src/compliance/policy.ts";
import { zonesOf } from "../../../src/compliance/zones.ts";

const policies = createPolicies("none");
const policy = (stored: unknown): Policy => policies(stored, "FR") as Policy;
const FR = policy("marketing-fr");
const US = policy("marketing-us");

const ask = (iso: string, phone: string, kind: Kind, rules = FR): Allowed =>
  nextAllowed(Date.parse(iso), { zones: zonesOf(phone), kind }, rules);
const at = (answer: Allowed): string => (answer.when === "at" ? new Date(answer.at).toISOString() : answer.when);

const PARIS = "+33612345678";

describe("France", () => {
  test.each<[string, Kind, string]>([
    // A Monday.
    ["2026-11-23T07:59:00+01:00", "sms", "2026-11-23T07:00:00.000Z"],
    ["2026-11-23T08:00:00+01:00", "sms", "now"],
    ["2026-11-23T21:59:59.999+01:00", "sms", "now"],
    ["2026-11-23T22:00:00+01:00", "sms", "2026-11-24T07:00:00.000Z"],
    ["2026-11-23T22:00:00+01:00", "whatsapp", "2026-11-24T07:00:00.000Z"],
    // Saturday, then Sunday.
    ["2026-11-21T12:00:00+01:00", "sms", "now"],
    ["2026-11-22T12:00:00+01:00", "sms", "2026-11-23T07:00:00.000Z"],
    // Calls: 10–13 and 14–20, Monday to Friday.
    ["2026-11-23T09:59:00+01:00", "voice", "2026-11-23T09:00:00.000Z"],
    ["2026-11-23T12:59:00+01:00", "voice", "now"],
    ["2026-11-23T13:00:00+01:00", "voice", "2026-11-23T13:00:00.000Z"],
    ["2026-11-23T14:00:00+01:00", "voice", "now"],
    ["2026-11-20T20:00:00+01:00", "voice", "2026-11-23T09:00:00.000Z"],
    // Summer time.
    ["2026-07-20T07:59:00+02:00", "sms", "2026-07-20T06:00:00.000Z"],
    // 14 July (Tuesday), All Saints' Day on a Sunday, Armistice Day (Wednesday).
    ["2026-07-14T12:00:00+02:00", "sms", "2026-07-15T06:00:00.000Z"],
    ["2026-11-11T12:00:00+01:00", "voice", "2026-11-12T09:00:00.000Z"],
    // Easter Monday and Good Friday of 2026; the latter is a holiday in Alsace and Moselle only.
    ["2026-04-06T12:00:00+02:00", "sms", "2026-04-07T06:00:00.000Z"],
    ["2026-04-03T12:00:00+02:00", "sms", "2026-04-04T06:00:00.000Z"],
    // Christmas (Friday), the day after, and Sunday.
    ["2026-12-25T12:00:00+01:00", "sms", "2026-12-28T07:00:00.000Z"],
  ])("at %s over %s → %s", (iso, kind, expected) => {
    expect(at(ask(iso, PARIS, kind))).toBe(expected);
  });

  test("where Alsace's own holidays are not kept → Good Friday and 26 December are days like others", () => {
    const rules = policy({ base: "marketing-fr", holidays: "fr" });
    expect(ask("2026-04-03T12:00:00+02:00", PARIS, "sms", rules)).toEqual({ when: "now" });
    expect(ask("2026-12-26T12:00:00+01:00", PARIS, "sms", rules)).toEqual({ when: "now" });
    expect(at(ask("2026-12-25T12:00:00+01:00", PARIS, "sms", rules))).toBe("2026-12-26T07:00:00.000Z");
  });

  // Noon in Paris, a Monday in winter; the local time in brackets.
  test.each([
    ["La Réunion", "+262692123456", "now"],
    ["Mayotte", "+262639123456", "now"],
    ["Guadeloupe (7:00)", "+590690123456", "2026-11-23T12:00:00.000Z"],
    ["Martinique (7:00)", "+596696123456", "2026-11-23T12:00:00.000Z"],
    ["Guyane (8:00)", "+594694123456", "now"],
    ["Saint-Pierre-et-Miquelon (8:00)", "+508551234", "now"],
    ["Nouvelle-Calédonie (22:00)", "+687751234", "2026-11-23T21:00:00.000Z"],
    ["Tahiti (1:00)", "+68987123456", "2026-11-23T18:00:00.000Z"],
    ["Wallis (23:00)", "+681821234", "2026-11-23T20:00:00.000Z"],
  ])("%s → its own clock", (_, phone, expected) => {
    expect(at(ask("2026-11-23T12:00:00+01:00", phone, "sms"))).toBe(expected);
  });

  test("says why, for people", () => {
    const why = (iso: string, kind: Kind): string | undefined => {
      const answer = ask(iso, PARIS, kind);
      return answer.when === "now" ? undefined : answer.why;
    };
    expect(why("2026-11-23T23:00:00+01:00", "sms")).toBe(
      "It is outside the hours: Monday to Saturday 08:00–22:00, in Europe/Paris.",
    );
    expect(why("2026-07-14T12:00:00+02:00", "sms")).toBe("It is a public holiday there (Fête Nationale).");
    expect(why("2026-11-23T13:30:00+01:00", "voice")).toBe(
      "It is outside the hours: Monday to Friday 10:00–13:00, Monday to Friday 14:00–20:00, in Europe/Paris.",
    );
  });
});

describe("the United States", () => {
  test.each([
    ["New York (8:00)", "+12125550123", "2026-11-23T13:00:00Z", "now"],
    ["Los Angeles (5:00)", "+12135550123", "2026-11-23T13:00:00Z", "2026-11-23T16:00:00.000Z"],
    ["Honolulu (3:00)", "+18085550123", "2026-11-23T13:00:00Z", "2026-11-23T18:00:00.000Z"],
    ["Phoenix, without summer time (8:00)", "+16025550123", "2026-07-20T15:00:00Z", "now"],
    ["Denver, with it (9:00)", "+13035550123", "2026-07-20T15:00:00Z", "now"],
    ["Puerto Rico (21:00)", "+17875550123", "2026-11-24T01:00:00Z", "2026-11-24T12:00:00.000Z"],
  ])("%s → by the area code", (_, phone, iso, expected) => {
    expect(at(ask(iso, phone, "sms", US))).toBe(expected);
  });

  test("a number of no area → only when it is day in all of the country's zones", () => {
    const zones = zonesOf("+18885550123");
    expect(zones).toEqual(expect.arrayContaining(["America/New_York", "Pacific/Honolulu", "Pacific/Guam"]));
    const answer = ask("2026-11-23T13:00:00Z", "+18885550123", "sms", US);
    for (const zone of zones) {
      const hour = Number(
        new Intl.DateTimeFormat("en", { timeZone: zone, hour: "numeric", hourCycle: "h23" }).format(
          answer.when === "at" ? answer.at : 0,
        ),
      );
      expect(hour, zone).toBeGreaterThanOrEqual(8);
      expect(hour, zone).toBeLessThan(21);
    }
  });
});

test("a policy that allows a channel at no time, or times that no zone shares → never", () => {
  expect(ask("2026-11-23T13:00:00Z", PARIS, "voice", policy({ hours: { voice: [] } }))).toMatchObject({
    when: "never",
  });
  const noon = policy({ hours: { sms: [{ days: [1], from: "12:00", to: "12:30" }] } });
  const where = { zones: ["Europe/Paris", "Asia/Tokyo"], kind: "sms" } as const;
  expect(nextAllowed(0, where, noon)).toMatchObject({ when: "never", why: expect.stringContaining("Asia/Tokyo") });
});

test("a number whose zone nobody knows → never, unless nothing is asked", () => {
  expect(nextAllowed(0, { zones: [], kind: "sms" }, FR)).toMatchObject({ when: "never" });
  expect(nextAllowed(0, { zones: [], kind: "sms" }, policy("none"))).toEqual({ when: "now" });
});

const ZONES = [
  "Europe/Paris",
  "America/New_York",
  "America/St_Johns",
  "Pacific/Noumea",
  "Pacific/Chatham",
  "Indian/Reunion",
  "America/Sao_Paulo",
  "Africa/Casablanca",
  // Its clocks leap by half an hour.
  "Australia/Lord_Howe",
];
const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/** An oracle of its own: what the platform shows. */
function wall(zone: string, instant: number): { weekday: number; time: string; date: string } {
  const format = new Intl.DateTimeFormat("en-GB", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  const [date = "", time = ""] = format.format(instant).split(", ");
  const weekday = DAYS.indexOf(new Intl.DateTimeFormat("en", { timeZone: zone, weekday: "short" }).format(instant)) + 1;
  return { weekday, time, date };
}
const within = (zone: string, instant: number, hours: readonly Hours[]): boolean => {
  const { weekday, time } = wall(zone, instant);
  return hours.some(({ days, from, to }) => days.includes(weekday) && time >= `${from}:00` && time < `${to}:00`);
};

const clock = fc
  .tuple(fc.integer({ min: 0, max: 24 }), fc.constantFrom("00", "15", "30", "45"))
  .map(([hour, minute]) => (hour === 24 ? "24:00" : `${String(hour).padStart(2, "0")}:${minute}`));
const anyHours: fc.Arbitrary<Hours> = fc
  .tuple(fc.subarray([1, 2, 3, 4, 5, 6, 7], { minLength: 1 }), fc.tuple(clock, clock))
  .filter(([, [a, b]]) => a !== b)
  .map(([days, times]) => ({ days, from: times.toSorted()[0] ?? "", to: times.toSorted()[1] ?? "" }));
const anyList = fc.array(anyHours, { minLength: 1, maxLength: 3 });
const instant = fc.date({ min: new Date("2024-01-01"), max: new Date("2034-01-01"), noInvalidDate: true }).map(Number);
/** Nights on which a clock leaps, in one of the zones. */
const leap = fc.constantFrom(
  "2026-03-29T01:00:00Z",
  "2026-10-25T01:00:00Z",
  "2026-03-08T07:00:00Z",
  "2026-11-01T06:00:00Z",
  "2026-04-04T15:00:00Z",
  "2026-10-03T15:30:00Z",
  "2026-04-04T14:45:00Z",
);
const nearLeap = fc
  .tuple(leap, fc.integer({ min: -2 * 86_400, max: 2 * 86_400 }))
  .map(([iso, seconds]) => Date.parse(iso) + seconds * 1000);
const moment = fc.oneof(instant, nearLeap);
const rulesOf = (hours: readonly Hours[]): Policy => ({
  ...FR,
  holidays: "none",
  hours: { whatsapp: hours, sms: hours, voice: hours },
});

test("whenever it is asked → what it answers is within the hours, on the wall, and it says so then", () => {
  fc.assert(
    fc.property(moment, fc.subarray(ZONES, { minLength: 1, maxLength: 2 }), anyList, (now, zones, hours) => {
      const rules = rulesOf(hours);
      const answer = nextAllowed(now, { zones, kind: "sms" }, rules);
      if (answer.when === "never") return;
      const time = answer.when === "at" ? answer.at : now;
      expect(time).toBeGreaterThanOrEqual(now);
      for (const zone of zones) expect(within(zone, time, hours), `${zone} ${new Date(time).toISOString()}`).toBe(true);
      expect(nextAllowed(time, { zones, kind: "sms" }, rules)).toEqual({ when: "now" });
    }),
    { numRuns: 400 },
  );
});

test("hours of the day, also around the nights on which clocks leap → nothing of them is missed", () => {
  const daytime = anyHours.filter(({ from, to }) => from >= "05:00" && to <= "23:00");
  fc.assert(
    fc.property(
      moment,
      fc.constantFrom(...ZONES),
      fc.array(daytime, { minLength: 1, maxLength: 3 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (now, zone, hours, share) => {
        const answer = nextAllowed(now, { zones: [zone], kind: "sms" }, rulesOf(hours));
        expect(answer.when).not.toBe("never");
        if (answer.when !== "at") return;
        // Any moment in between is outside.
        const between = now + Math.floor((answer.at - now) * share);
        expect(within(zone, between, hours), new Date(between).toISOString()).toBe(false);
        expect(within(zone, answer.at - 1, hours)).toBe(false);
      },
    ),
    { numRuns: 400 },
  );
});

test("the start of a day → is of that day on the wall, and the moment before it of another", () => {
  fc.assert(
    fc.property(moment, fc.constantFrom(...ZONES), (now, zone) => {
      const start = startOfDay(now, [zone]);
      expect(start).toBeLessThanOrEqual(now);
      expect(wall(zone, start).date).toBe(wall(zone, now).date);
      expect(wall(zone, start - 1).date).not.toBe(wall(zone, now).date);
    }),
    { numRuns: 400 },
  );
});

test("French holidays → fall as the church's calendar has it, until the year 2099", () => {
  const closed = (iso: string): boolean => {
    const hours: readonly Hours[] = [{ days: [1, 2, 3, 4, 5, 6, 7], from: "00:00", to: "24:00" }];
    return (
      nextAllowed(
        Date.parse(`${iso}T12:00:00+01:00`),
        { zones: ["Europe/Paris"], kind: "sms" },
        { ...rulesOf(hours), holidays: "fr" },
      ).when !== "now"
    );
  };
  // Easter Mondays, from the tables of the Bureau des longitudes.
  for (const day of [
    "2024-04-01",
    "2025-04-21",
    "2026-04-06",
    "2027-03-29",
    "2030-04-22",
    "2038-04-26",
    "2049-04-19",
    "2099-04-13",
  ]) {
    expect(closed(day), day).toBe(true);
  }
  for (const kind of KINDS) expect(FR.hours[kind]).not.toBe("any");
  const year = ["01-01", "05-01", "05-08", "05-14", "05-25", "07-14", "08-15", "11-01", "11-11", "12-25"];
  expect(year.filter((day) => !closed(`2026-${day}`))).toEqual([]);
  expect(["01-02", "04-03", "05-15", "11-02", "12-24", "12-26"].filter((day) => closed(`2026-${day}`))).toEqual([]);
});
