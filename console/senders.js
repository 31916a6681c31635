import { usePoll } from "./api.js";
import { count, duration } from "./format.js";
import { Cell, el, Empty, Head, Loading, Pill, Table, Time, Trouble } from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").Sender} Sender */

const POLL_MS = 2000;
const COLUMNS = ["Sender", "State", "Pace", "Placed", "A message waits", "Last refusal"];

/** How fast each sender sends, as learned from its provider. */
export function Senders() {
  /** @type {{ data: { senders: Sender[] } | undefined, problem: any }} */
  const { data, problem } = usePoll("/senders", POLL_MS);
  return el(
    "div",
    null,
    el(Head, {
      title: "Senders",
      sub: "How fast each sends now, as its provider lets it. WhatsApp numbers have a pace of their own.",
    }),
    el(Trouble, { problem }),
    !data && !problem && el(Loading),
    data &&
      data.senders.length === 0 &&
      el(
        Empty,
        { title: "No sender was limited today" },
        "A sender appears here when it sends through a provider that limits it.",
      ),
    data &&
      data.senders.length > 0 &&
      el(
        Table,
        { columns: COLUMNS },
        data.senders.map((sender) =>
          el(
            "tr",
            { key: `${sender.provider} ${sender.sender}` },
            el(
              Cell,
              { name: "Sender" },
              el("strong", { class: "number" }, sender.sender),
              el("small", { class: "dim" }, sender.provider),
            ),
            el(
              Cell,
              { name: "State" },
              sender.heldUntil
                ? [el(Pill, { state: "paused", words: "held" }), " ", el(Time, { iso: sender.heldUntil })]
                : el(Pill, { state: "open", words: "sends" }),
            ),
            el(Cell, { name: "Pace" }, el(Gauge, { sender })),
            el(Cell, { name: "Placed", kind: "number" }, count(sender.placed)),
            el(
              Cell,
              { name: "A message waits" },
              sender.waitSeconds === 0 ? "not at all" : duration(sender.waitSeconds),
            ),
            el(
              Cell,
              { name: "Last refusal" },
              sender.lastRefusal
                ? [sender.lastRefusal.code, el("small", { class: "dim" }, el(Time, { iso: sender.lastRefusal.at }))]
                : el("span", { class: "dim" }, "none"),
            ),
          ),
        ),
      ),
  );
}

/** @param {{ sender: Sender }} props */
function Gauge({ sender: { perSecond, maxPerSecond } }) {
  const width = Math.min(100, (100 * perSecond) / maxPerSecond);
  const words = `${perSecond} of ${maxPerSecond} a second`;
  return el(
    "span",
    { class: "gauge" },
    words,
    el(
      "svg",
      { class: "bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" },
      el("rect", { class: "fill-sent", x: 0, y: 0, width, height: 1 }),
    ),
  );
}
