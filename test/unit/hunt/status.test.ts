import { expect, test } from "vitest";
import { summarise } from "../../../src/hunt/hunt.status.ts";
import type { HuntStatus } from "../../../src/store/store.ts";

const STATUS: HuntStatus = {
  huntId: "hunt",
  accountId: "acc",
  createdAt: "2026-01-01T00:00:00Z",
  now: "2026-01-01T00:01:40Z",
  pausedAt: null,
  cancelledAt: null,
  scheduledAt: null,
  endsAt: null,
  startedAt: null,
  lastSettledAt: null,
  attempted: 0,
  pending: {},
  channels: {},
};

const summary = (fields: Partial<HuntStatus>) => summarise("job", { ...STATUS, ...fields });

test("contacts that wait to be planned → count as queued, of their channel", () => {
  const status = summary({ pending: { sms: 500, whatsapp_text: 20 }, channels: { sms: { sent: 30, skipped: 1 } } });
  expect(status).toMatchObject({
    state: "planning",
    total: 551,
    counts: { queued: 520, sent: 30, skipped: 1 },
    finishedAt: null,
  });
  expect(status.byChannel).toMatchObject({ sms: { queued: 500, sent: 30 }, whatsapp_text: { queued: 20, sent: 0 } });
});

test("everything is planned, something is open → running", () => {
  expect(summary({ channels: { sms: { sending: 1, sent: 9 } } })).toMatchObject({ state: "running", finishedAt: null });
});

test("nothing is open → finished, at the time of the last message", () => {
  const channels = { sms: { delivered: 5, unknown: 1, cancelled: 1 } };
  const status = summary({
    channels,
    lastSettledAt: "2026-01-01T00:00:50Z",
    startedAt: "2026-01-01T00:00:01Z",
    attempted: 6,
  });
  expect(status).toMatchObject({ state: "finished", total: 7, finishedAt: "2026-01-01T00:00:50Z", etaSeconds: 0 });
});

test("what is left of the time until its end, in whole seconds; without one, no estimate", () => {
  const channels = { sms: { sent: 50, queued: 40, sending: 10 } };
  expect(summary({ channels, endsAt: "2026-01-01T00:03:19.500Z" }).etaSeconds).toBe(100);
  expect(summary({ channels, endsAt: STATUS.createdAt }).etaSeconds).toBe(0);
  expect(summary({ channels }).etaSeconds).toBeNull();
});

test("nothing of it may be sent before a time → scheduled, unless it is paused", () => {
  const waiting = { channels: { sms: { queued: 1 } }, scheduledAt: "2026-01-02T00:00:00Z" };
  expect(summary(waiting)).toMatchObject({ state: "scheduled", scheduledAt: "2026-01-02T00:00:00Z" });
  expect(summary({ ...waiting, pausedAt: STATUS.now })).toMatchObject({ state: "paused", etaSeconds: null });
});
