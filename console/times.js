import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { patch, Problem } from "./api.js";
import { duration } from "./format.js";
import { el, Field, fieldsOf, Trouble } from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").HuntWithReasons} HuntShown */
/** @typedef {import("../src/client/shapes.ts").HuntChanges} HuntChanges */

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const WEEKDAYS = [1, 2, 3, 4, 5];
/** The field for a time of the day has no 24:00. */
const MIDNIGHT = "00:00";
/** @type {Record<string, string>} */
const LABELS = { sendAt: "“Not before”", expiresAt: "“Nothing after”", timeZone: "“By the clock of”" };
const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/**
 * Asks for another time, end, other hours or another priority of a hunt; only what is changed is said.
 *
 * @param {{ hunt: HuntShown, onClose: (isDone: boolean) => void }} props
 */
export function Times({ hunt, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  // What the form began with: the page behind it goes on asking.
  const [before] = useState(() => formOf(hunt));
  const [within, setWithin] = useState(before.within);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {Problem | undefined} */ (undefined));
  useLayoutEffect(() => dialog.current?.showModal(), []);
  const close = (/** @type {boolean} */ isDone) => {
    // The focus goes back to where it was.
    dialog.current?.close();
    onClose(isDone);
  };
  const save = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (busy) return;
    const changes = changesOf(before, givenIn(event));
    if (Object.keys(changes).length === 0) return close(false);
    setBusy(true);
    try {
      await patch(`/hunts/${encodeURIComponent(hunt.huntId)}`, changes);
      close(true);
    } catch (error) {
      setProblem(inLabels(error));
      setBusy(false);
    }
  };
  return el(
    "dialog",
    { ref: dialog, class: "is-wide", "aria-labelledby": "times", onCancel: () => close(false) },
    el("h2", { id: "times" }, "When it is sent"),
    el(
      "p",
      { class: "dim" },
      `Counts at once for everything that is not being sent. Times are this computer's (${HERE}).`,
    ),
    el(
      "form",
      { class: "sheet", onSubmit: save },
      el(
        "div",
        { class: "pair" },
        el(
          Field,
          { label: "Not before", hint: "In the past: at once. Empty: as it was submitted." },
          el("input", { name: "sendAt", type: "datetime-local", defaultValue: before.sendAt, autofocus: true }),
        ),
        el(
          Field,
          { label: "Nothing after", hint: `Now ${inWords(hunt.expiresAt)}.` },
          el("input", { name: "expiresAt", type: "datetime-local", defaultValue: before.expiresAt, required: true }),
        ),
      ),
      el(
        Field,
        { label: "Priority" },
        el(
          "select",
          { name: "priority" },
          ["high", "normal", "low"].map((each) =>
            el("option", { key: each, value: each, selected: each === before.priority }, each),
          ),
        ),
      ),
      el(
        "label",
        { class: "tick" },
        el("input", {
          name: "within",
          type: "checkbox",
          defaultChecked: before.within,
          onChange: (/** @type {any} */ event) => setWithin(event.currentTarget.checked),
        }),
        "Only within these hours",
      ),
      within && el(Hours, { before }),
      el(Trouble, { problem }),
      el(
        "div",
        { class: "actions" },
        el("button", { type: "button", class: "button", onClick: () => close(false) }, "Keep as it is"),
        el("button", { class: "button is-main", "aria-busy": busy }, "Save"),
      ),
    ),
  );
}

/** @param {{ before: ReturnType<typeof formOf> }} props */
const Hours = ({ before }) =>
  el(
    "fieldset",
    { class: "hours" },
    el("legend", null, "Hours"),
    el(
      "div",
      { class: "days", role: "group", "aria-label": "Days" },
      DAYS.map((name, i) =>
        el(
          "label",
          { key: name, class: "chip" },
          el("input", {
            name: "day",
            type: "checkbox",
            value: String(i + 1),
            defaultChecked: before.days.includes(i + 1),
          }),
          name,
        ),
      ),
    ),
    el(
      "div",
      { class: "pair" },
      el(
        Field,
        { label: "From" },
        el("input", { name: "from", type: "time", defaultValue: before.from, required: true }),
      ),
      el(Field, { label: "To" }, el("input", { name: "to", type: "time", defaultValue: before.to, required: true })),
    ),
    el(
      Field,
      {
        label: "By the clock of",
        hint: "Such as Europe/Paris. Empty: each recipient's own, where the hunt was planned so.",
      },
      el("input", { name: "timeZone", defaultValue: before.timeZone, placeholder: "each recipient", maxLength: 100 }),
    ),
    el(
      "label",
      { class: "tick" },
      el("input", { name: "spread", type: "checkbox", defaultChecked: before.spread }),
      "Spread evenly over the open time",
    ),
  );

/** @param {HuntShown} hunt */
function formOf({ sendAt, expiresAt, priority, windows }) {
  const { days = WEEKDAYS, from = "09:00", to = "18:00", timeZone = "", spread = false } = windows ?? {};
  return {
    sendAt: sendAt === null ? "" : localOf(sendAt),
    expiresAt: localOf(expiresAt),
    priority,
    within: windows !== null,
    days,
    from,
    to: to === "24:00" ? MIDNIGHT : to,
    // The recipients' own clocks are known only of a hunt that was planned for hours by them.
    timeZone: windows === null ? HERE : timeZone,
    spread,
  };
}

/** @param {SubmitEvent} event @returns {ReturnType<typeof formOf>} */
function givenIn(event) {
  const { sendAt = "", expiresAt = "", priority, within, from = "", to = "", timeZone = "", spread } = fieldsOf(event);
  const days = new FormData(/** @type {HTMLFormElement} */ (event.target)).getAll("day").map(Number);
  const of = /** @type {HuntShown["priority"]} */ (priority);
  return {
    sendAt,
    expiresAt,
    priority: of,
    within: within === "on",
    days,
    from,
    to,
    timeZone,
    spread: spread === "on",
  };
}

/** @param {ReturnType<typeof formOf>} before @param {ReturnType<typeof formOf>} given @returns {HuntChanges} */
function changesOf(before, given) {
  /** @type {HuntChanges} */
  const changes = {};
  if (given.sendAt !== before.sendAt) changes.sendAt = given.sendAt === "" ? null : isoOf(given.sendAt);
  if (given.expiresAt !== before.expiresAt) changes.expiresAt = isoOf(given.expiresAt);
  if (given.priority !== before.priority) changes.priority = given.priority;
  const windows = windowsOf(given);
  if (JSON.stringify(windows) !== JSON.stringify(windowsOf(before))) changes.windows = windows;
  return changes;
}

/** @param {ReturnType<typeof formOf>} form */
function windowsOf({ within, days, from, to, timeZone, spread }) {
  if (!within) return null;
  const hours = { days, from, to: to === MIDNIGHT ? "24:00" : to };
  return { ...hours, ...(timeZone === "" ? {} : { timeZone }), ...(spread ? { spread } : {}) };
}

/** As the field for a moment takes it, by this computer's clock. @param {string} iso */
function localOf(iso) {
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** In the words of this form. @param {unknown} error */
function inLabels(error) {
  if (!(error instanceof Problem)) return new Problem("Something went wrong on this page.");
  return new Problem(error.message.replaceAll(/\b(sendAt|expiresAt|timeZone)\b/g, (name) => LABELS[name] ?? name));
}

/** @param {string} local */
const isoOf = (local) => new Date(local).toISOString();

/** @param {string} iso */
function inWords(iso) {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  return seconds > 0 ? `in ${duration(seconds)}` : "over";
}
