/** @typedef {import("../src/client/shapes.ts").MessageStatus} Status */

const number = new Intl.NumberFormat("en");
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const shortDay = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @param {number} value */
export const count = (value) => number.format(value);
/** @param {number} value @param {string} one @param {string} [many] */
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
/** @param {string} iso */
export const fullTime = (iso) => moment.format(new Date(iso));

/** @param {string} iso @param {number} spanMs how much time is shown together */
export const axisTime = (iso, spanMs) => (spanMs < 86_400_000 ? clock : shortDay).format(new Date(iso));

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return "under a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** @param {string} iso */
export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < -1) return `in ${duration(-seconds)}`;
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

/** In which order states are stacked: what has come furthest lies at the bottom. @type {readonly Status[]} */
export const STACK = ["read", "delivered", "sent", "failed", "unknown", "skipped", "cancelled", "sending", "queued"];
/** In which order they are read. @type {readonly Status[]} */
export const STATES = ["queued", "sending", "sent", "delivered", "read", "failed", "unknown", "skipped", "cancelled"];

/** @type {Record<string, string>} */
const REASONS = {
  invalid_number: "Not a number that can be reached",
  duplicate: "The same number twice",
  suppressed: "Must not be contacted",
  no_consent: "Has not agreed to be contacted",
  frequency_cap: "Written to often enough lately",
  no_credit: "No credit left",
  channel_off: "The channel is off",
  suspended_account: "The account is suspended",
  expired: "Its time was over",
  ambiguous: "Nobody can tell whether it was sent",
  not_on_whatsapp: "Not on WhatsApp",
};

/** A reason or code as people say it; one that has no words stays as it is. @param {string} code */
export const reason = (code) => REASONS[code] ?? code.replaceAll("_", " ");

/** A check of the service's health. @param {string} name */
export const check = (name) =>
  ({ redis: "Redis", database: "Database", process: "Process" })[name] ??
  name
    .replace("worker:", "Worker ")
    .replace("feeder:", "Feeder of ")
    .replace(/^[a-z]/, (letter) => letter.toUpperCase());

/** @type {Record<string, string>} */
const CHANNELS = { sms: "SMS", ringless_voice: "Voicemail" };
/** @param {string} name */
export const channel = (name) => CHANNELS[name] ?? name.replace("whatsapp_", "WhatsApp ").replaceAll("_", " ");
