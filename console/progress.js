import { ago, count, duration, STACK } from "./format.js";
import { el } from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").Hunt} HuntOfList */
/** @typedef {HuntOfList["counts"]} Counts */

/** Messages that have come to an end. @param {Counts} counts @param {number} total */
const settled = (counts, total) => total - counts.queued - counts.sending;

/** @param {Pick<HuntOfList, "counts" | "total" | "state" | "etaSeconds" | "scheduledAt" | "startedAt" | "finishedAt">} hunt */
export function progressWords({ counts, total, state, etaSeconds, scheduledAt, startedAt, finishedAt }) {
  const done = settled(counts, total);
  if (state === "finished") {
    const seconds = startedAt && finishedAt ? (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000 : undefined;
    return `${count(total)} done${seconds === undefined ? "" : ` in ${duration(seconds)}`}`;
  }
  if (state === "cancelled")
    return finishedAt ? `Ended after ${count(total - counts.cancelled)} of ${count(total)}` : "Ending…";
  if (state === "scheduled" && scheduledAt)
    return `${count(done)} of ${count(total)}, ${startedAt ? "goes on" : "begins"} ${ago(scheduledAt)}`;
  const left = state === "running" && etaSeconds !== null ? `, ${duration(etaSeconds)} left` : "";
  return `${count(done)} of ${count(total)}${left}`;
}

/** How a hunt's messages divide over the states. @param {{ counts: Counts, total: number }} props */
export function Bar({ counts, total }) {
  const parts = STACK.filter((state) => counts[state] > 0);
  const label = parts.map((state) => `${count(counts[state])} ${state}`).join(", ");
  // SVG, for its widths are attributes: the page's policy allows no style in an element.
  let x = 0;
  return el(
    "svg",
    {
      class: "bar",
      viewBox: "0 0 100 1",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label || "Nothing yet",
    },
    parts.map((state) => {
      const width = (100 * counts[state]) / total;
      x += width;
      return el("rect", { key: state, class: `fill-${state}`, x: x - width, y: 0, width, height: 1 });
    }),
  );
}
