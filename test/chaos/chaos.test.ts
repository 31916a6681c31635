import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { runChaos } from "../../bench/chaos/chaos.ts";
import { sendsOf, tableOf, verdict } from "../../bench/chaos/report.ts";
import { SECRET } from "../../bench/chaos/submitter.ts";
import { FakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { FakeVoicePartner } from "../fakes/voicepartner/fake-voicepartner.ts";
import { FakeVonage } from "../fakes/vonage/fake-vonage.ts";
import { keepPrivate } from "../helpers/output.ts";

const MINUTES = 0.6;
const SEED = 7;

test(
  "processes, servers, providers and networks that fail at random: nothing lost, nothing sent twice, credits exact",
  { timeout: 300_000 },
  async ({ annotate }) => {
    const stopping = new AbortController().signal;
    keepPrivate(
      "secret",
      SECRET,
      FakeTwilio.AUTH_TOKEN,
      FakeVonage.API_SECRET,
      FakeVonage.SIGNATURE_SECRET,
      FakeVoicePartner.API_KEY,
    );
    const logs = join(inject("output"), "chaos");
    const compileCache = inject("compiled");
    const run = { minutes: MINUTES, seed: SEED, rate: 50, stopping, say: () => {}, compileCache, logs };
    const result = await runChaos(run);
    await annotate(tableOf(result));
    expect(verdict(result)).toEqual([]);
    const { lost, twice, stuck, credits } = result.audit;
    expect({ lost, twice, stuck, credits }).toEqual({ lost: [], twice: [], stuck: [], credits: [] });

    // All of that is easy for a run in which nothing happens.
    expect(sendsOf(result.audit)).toBeGreaterThan(300);
    for (const n of Object.values(result.audit.sends)) expect(n).toBeGreaterThan(0);
    expect(result.audit.webhooks.reports).toBeGreaterThan(300);
    expect(result.audit.telling.taken).toBeGreaterThan(100);
    expect(result.damage.kills).toBeGreaterThanOrEqual(6);
    expect(Object.keys(result.damage.faults).length).toBeGreaterThanOrEqual(3);
    expect(result.damage.inFlightAtKills).toBeGreaterThan(0);
  },
);
