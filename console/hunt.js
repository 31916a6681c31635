import { useState } from "preact/hooks";
import { post, query, usePoll } from "./api.js";
import { Chart } from "./chart.js";
import { channel, count, fullTime, reason, STATES } from "./format.js";
import { progressWords } from "./progress.js";
import { Times } from "./times.js";
import {
  Action,
  Cell,
  el,
  Empty,
  Field,
  Head,
  Loading,
  Pager,
  Pill,
  Table,
  say,
  sure,
  Time,
  Trouble,
  usePages,
} from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").HuntWithReasons} HuntShown */
/** @typedef {import("../src/client/shapes.ts").MessagePage} MessagePage */
/** @typedef {import("../src/client/shapes.ts").HuntTimeline} Timeline */

const POLL_MS = 1000;
const CHART_POLL_MS = 2000;
/** What has ended changes by late receipts alone. */
const ENDED_POLL_MS = 3000;
const PAGE = 50;

/** One hunt: its states now and over time, and what became of each contact. @param {{ id: string }} props */
export function Hunt({ id }) {
  const at = `/hunts/${encodeURIComponent(id)}`;
  const [ended, setEnded] = useState(false);
  const everyMs = ended ? ENDED_POLL_MS : POLL_MS;
  /** @type {{ data: HuntShown | undefined, problem: any, refresh: () => void }} */
  const { data: hunt, problem, refresh } = usePoll(at, everyMs);
  /** @type {{ data: Timeline | undefined }} */
  const { data: timeline } = usePoll(`${at}/timeline`, Math.max(everyMs, CHART_POLL_MS));
  const [status, setStatus] = useState("");
  const [asksTimes, setAsksTimes] = useState(false);
  if (hunt && (hunt.finishedAt !== null) !== ended) setEnded(hunt.finishedAt !== null);

  if (!hunt) {
    return el(
      "div",
      null,
      el(Head, { title: id, sub: el("a", { href: "#/hunts" }, "All hunts") }),
      problem ? el(Trouble, { problem }) : el(Loading, { rows: 6 }),
    );
  }
  const steer = (/** @type {string} */ action, /** @type {string} */ said) => async () => {
    await post(`/hunt/${encodeURIComponent(id)}/${action}`);
    say(said);
    refresh();
  };
  const cancel = async () => {
    const left = hunt.counts.queued;
    const yes = await sure({
      title: "Cancel this hunt?",
      words: `${count(left)} of ${count(hunt.total)} messages still wait. They are never sent, and their credits come back. This cannot be undone.`,
      action: "Cancel the hunt",
      danger: true,
    });
    if (yes) await steer("cancel", "The hunt is cancelled.")();
  };
  const isOpen = hunt.finishedAt === null && hunt.state !== "cancelled";
  return el(
    "div",
    null,
    el(
      Head,
      {
        title: id,
        pill: el(Pill, { state: hunt.state }),
        sub: [
          el("a", { href: "#/hunts" }, "All hunts"),
          ` · ${hunt.accountId} · ${hunt.priority} priority · `,
          el(Time, { iso: hunt.createdAt }),
        ],
      },
      isOpen &&
        hunt.state !== "paused" &&
        el(Action, { run: steer("pause", "Paused: nothing more is begun.") }, "Pause"),
      isOpen &&
        hunt.state === "paused" &&
        el(Action, { run: steer("resume", "The hunt goes on."), kind: "is-main" }, "Resume"),
      isOpen && el("button", { type: "button", class: "button", onClick: () => setAsksTimes(true) }, "Times…"),
      isOpen && el(Action, { run: cancel, kind: "is-danger" }, "Cancel…"),
    ),
    asksTimes &&
      el(Times, {
        hunt,
        onClose: (/** @type {boolean} */ isDone) => {
          setAsksTimes(false);
          if (!isDone) return;
          say("It keeps to the new times from now on.");
          refresh();
        },
      }),
    el(Trouble, { problem }),
    el(
      "section",
      { class: "card", "aria-label": "Progress" },
      el("p", { class: "big" }, progressWords(hunt)),
      timeline ? el(Chart, { timeline }) : el(Loading, { rows: 2 }),
    ),
    el(
      "div",
      { class: "chips", role: "group", "aria-label": "Contacts by state" },
      ["", ...STATES]
        .filter(
          (state) =>
            state === "" || state === status || hunt.counts[/** @type {keyof HuntShown["counts"]} */ (state)] > 0,
        )
        .map((state) =>
          el(
            "button",
            {
              key: state,
              type: "button",
              class: "chip",
              "aria-pressed": state === status,
              onClick: () => setStatus(state),
            },
            state === "" ? "all" : [el("i", { class: `swatch is-${state}` }), state],
            " ",
            el(
              "b",
              null,
              count(state === "" ? hunt.total : hunt.counts[/** @type {keyof HuntShown["counts"]} */ (state)]),
            ),
          ),
        ),
    ),
    el(Contacts, { key: status, id, status, reasons: hunt.reasons, everyMs: 2 * everyMs }),
  );
}

/** @param {{ id: string, status: string, reasons: HuntShown["reasons"], everyMs: number }} props */
function Contacts({ id, status, reasons, everyMs }) {
  const [why, setWhy] = useState("");
  const pages = usePages(`${status} ${why}`);
  const path = `/hunt/${encodeURIComponent(id)}/messages${query({ status, reason: why, cursor: pages.cursor, limit: PAGE })}`;
  /** @type {{ data: MessagePage | undefined, problem: any }} */
  const { data, problem } = usePoll(path, everyMs);
  const fitting = reasons.filter((each) => status === "" || each.status === status);
  return el(
    "section",
    { "aria-label": "Contacts" },
    fitting.length > 0 &&
      el(
        "div",
        { class: "inline" },
        el(
          Field,
          { label: "Reason" },
          el(
            "select",
            { value: why, onChange: (/** @type {any} */ event) => setWhy(event.currentTarget.value) },
            el("option", { value: "" }, "any"),
            fitting.map((each) =>
              el(
                "option",
                { key: each.status + each.reason, value: each.reason },
                `${reason(each.reason)} (${count(each.count)} ${each.status})`,
              ),
            ),
          ),
        ),
      ),
    el(Trouble, { problem }),
    !data && !problem && el(Loading, { rows: 5 }),
    data &&
      data.messages.length === 0 &&
      el(
        Empty,
        { title: "Nobody here" },
        status === "" && why === "" ? "The contacts are being planned." : "No contact of this hunt is in that state.",
      ),
    data &&
      data.messages.length > 0 &&
      el(
        Table,
        { columns: ["Contact", "Number", "Over", "State", "Why", "Changed"] },
        data.messages.map((message) =>
          el(
            "tr",
            { key: message.messageId },
            el(Cell, { name: "Contact" }, message.adId),
            el(Cell, { name: "Number", kind: "number" }, message.recipientPhone),
            el(
              Cell,
              { name: "Over" },
              channel(message.channel),
              message.provider && el("span", { class: "dim" }, ` · ${message.provider}`),
            ),
            el(Cell, { name: "State" }, el(Pill, { state: message.status })),
            el(Cell, { name: "Why", kind: "why" }, whyOf(message)),
            el(
              Cell,
              { name: "Changed" },
              message.updatedAt &&
                el("span", { title: fullTime(message.updatedAt) }, el(Time, { iso: message.updatedAt })),
            ),
          ),
        ),
      ),
    data && el(Pager, { pages, next: data.nextCursor }),
  );
}

/** @param {import("../src/client/shapes.ts").Message} message */
function whyOf({ reason: skipped, code, detail }) {
  const short = skipped ?? code;
  if (short === null && detail === null) return el("span", { class: "dim" }, "–");
  return [short && el("span", { title: short }, reason(short)), detail && el("small", { class: "dim" }, detail)];
}
