import { h } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Problem } from "./api.js";
import { ago, count, fullTime } from "./format.js";

/** @typedef {import("./api.js").Problem} Failure */

/** An element or a component. @type {(type: any, props?: Record<string, any> | null, ...children: any[]) => any} */
export const el = h;

/** @param {{ state: string, words?: string }} props */
export const Pill = ({ state, words }) => el("span", { class: `pill is-${state}` }, words ?? state);

/** A cell of a table, which on a phone is a line with its name. @param {{ name: string, kind?: string, children?: any }} props */
export const Cell = ({ name, kind, children }) =>
  el("td", { "data-name": name, class: kind }, el("div", null, children));

/** Rows under named columns; those in `right` hold numbers. @param {{ columns: string[], right?: string[], children?: any }} props */
export const Table = ({ columns, right = [], children }) =>
  el(
    "div",
    { class: "table-box card" },
    el(
      "table",
      null,
      el(
        "thead",
        null,
        el(
          "tr",
          null,
          columns.map((name) => el("th", { scope: "col", class: right.includes(name) ? "right" : undefined }, name)),
        ),
      ),
      el("tbody", null, children),
    ),
  );

/** @param {{ iso: string | null }} props */
export const Time = ({ iso }) =>
  iso === null ? el("span", { class: "dim" }, "–") : el("time", { dateTime: iso, title: fullTime(iso) }, ago(iso));

/** @param {{ title: string, children?: any }} props */
export const Empty = ({ title, children }) =>
  el("div", { class: "empty" }, el("p", { class: "empty-title" }, title), children && el("p", null, children));

/** Says in words what is wrong; what was there before stays to be seen. @param {{ problem: Failure | undefined }} props */
export const Trouble = ({ problem }) =>
  problem ? el("p", { class: "trouble", role: "alert" }, problem.message) : null;

/** @param {{ rows?: number }} props */
export const Loading = ({ rows = 3 }) =>
  el(
    "div",
    { class: "loading", role: "status", "aria-label": "Loading" },
    Array.from({ length: rows }, () => el("span", { class: "bone" })),
  );

/** A page's head; it takes the focus when the page is opened. @param {{ title: string, pill?: any, sub?: any, children?: any }} props */
export function Head({ title, pill, sub, children }) {
  const heading = useRef(/** @type {HTMLHeadingElement | null} */ (null));
  // With the page itself, and not after it is painted, when somebody may be in a field already.
  useLayoutEffect(() => {
    document.title = `${title} · Auto-Prospect`;
    heading.current?.focus({ preventScroll: true });
  }, [title]);
  return el(
    "header",
    { class: "head" },
    el(
      "div",
      { class: "head-words" },
      el("div", { class: "head-line" }, el("h1", { ref: heading, tabIndex: -1 }, title), pill),
      sub && el("p", { class: "dim" }, sub),
    ),
    children && el("div", { class: "actions" }, children),
  );
}

/**
 * A button for something that takes a moment; it says what went wrong.
 *
 * @param {{ run: () => Promise<unknown>, children: any, kind?: string, label?: string, disabled?: boolean }} props
 */
export function Action({ run, children, kind = "", label, disabled = false }) {
  const [busy, setBusy] = useState(false);
  const onClick = async () => {
    if (busy) return;
    setBusy(true);
    await attempt(run);
    setBusy(false);
  };
  // Not `disabled` while it works: a button that is disabled loses the focus.
  return el(
    "button",
    { type: "button", class: `button ${kind}`, onClick, "aria-busy": busy, "aria-label": label, disabled },
    children,
  );
}

/** @param {() => Promise<unknown>} run @returns {Promise<boolean>} whether it went well */
export async function attempt(run) {
  try {
    await run();
    return true;
  } catch (error) {
    say(error instanceof Problem ? error.message : "Something went wrong on this page.", "bad");
    return false;
  }
}

/** Whoever works through a list by keyboard goes on from its head when the item that had the focus is gone. @param {unknown} data */
export function useFocusKept(data) {
  useEffect(() => {
    if (focused?.isConnected === false && document.activeElement === document.body) {
      document.querySelector("h1")?.focus({ preventScroll: true });
    }
  }, [data]);
}
/** @type {Element | undefined} */
let focused;
addEventListener("focusin", ({ target }) => (focused = target instanceof Element ? target : undefined));

/** Pages of a list that only knows what comes next. @param {string} key what the list is of */
export function usePages(key) {
  const [state, setState] = useState({ key, cursors: /** @type {(string | undefined)[]} */ ([undefined]) });
  const cursors = state.key === key ? state.cursors : [undefined];
  return {
    cursor: cursors.at(-1),
    page: cursors.length,
    /** @param {string} cursor */
    next: (cursor) => setState({ key, cursors: [...cursors, cursor] }),
    back: () => setState({ key, cursors: cursors.slice(0, -1) }),
  };
}

/** @param {{ pages: ReturnType<typeof usePages>, next: string | null | undefined }} props */
export const Pager = ({ pages, next }) =>
  pages.page === 1 && !next
    ? null
    : el(
        "nav",
        { class: "pager", "aria-label": "Pages" },
        el("button", { type: "button", class: "button", disabled: pages.page === 1, onClick: pages.back }, "Back"),
        el("span", { class: "dim" }, `Page ${count(pages.page)}`),
        el(
          "button",
          { type: "button", class: "button", disabled: !next, onClick: () => next && pages.next(next) },
          "Next",
        ),
      );

/** @param {{ label: string, children: any, hint?: string }} props */
export const Field = ({ label, children, hint }) =>
  el("label", { class: "field" }, el("span", null, label), children, hint && el("small", { class: "dim" }, hint));

/** @param {{ label: string }} props */
export const PhoneField = ({ label }) =>
  el(
    Field,
    { label },
    el("input", {
      name: "phone",
      type: "tel",
      required: true,
      maxLength: 100,
      placeholder: "+33 6 12 34 56 78",
      autoComplete: "off",
    }),
  );

/** @type {(words: string, kind: "good" | "bad") => void} */
let tell = () => {};
/** @type {(question: Question) => Promise<boolean>} */
let askPerson = async () => false;

/** @typedef {{ title: string, words: string, action: string, danger?: boolean }} Question */

/** Tells the person what came of something. @param {string} words @param {"good" | "bad"} [kind] */
export const say = (words, kind = "good") => tell(words, kind);
/** Asks the person before something that cannot be taken back. @param {Question} question */
export const sure = (question) => askPerson(question);

const SAID_FOR_MS = 6000;

/** The text fields of a form, without blanks around them. @param {SubmitEvent} event @returns {Record<string, string>} */
export function fieldsOf(event) {
  const given = [...new FormData(/** @type {HTMLFormElement} */ (event.target))];
  return Object.fromEntries(given.map(([name, value]) => [name, typeof value === "string" ? value.trim() : ""]));
}

/** Where things are said and asked; there is one. */
export function Voice() {
  const [said, setSaid] = useState(/** @type {{ words: string, kind: string } | undefined} */ (undefined));
  const [question, setQuestion] = useState(/** @type {Question | undefined} */ (undefined));
  const answer = useRef(/** @type {(yes: boolean) => void} */ (() => {}));
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  tell = (words, kind) => setSaid({ words, kind });
  askPerson = (asked) => {
    answer.current(false);
    setQuestion(asked);
    return new Promise((resolve) => (answer.current = resolve));
  };
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(undefined), SAID_FOR_MS);
    return () => clearTimeout(timer);
  }, [said]);
  useLayoutEffect(() => {
    if (question) dialog.current?.showModal();
  }, [question]);
  const close = (/** @type {boolean} */ yes) => {
    dialog.current?.close();
    setQuestion(undefined);
    answer.current(yes);
  };
  return el(
    "div",
    null,
    el(
      "div",
      { class: "voice", role: "status", "aria-live": "polite" },
      said && el("p", { class: `said is-${said.kind}` }, said.words),
    ),
    question &&
      el(
        "dialog",
        { ref: dialog, "aria-labelledby": "question", onCancel: () => close(false) },
        el("h2", { id: "question" }, question.title),
        el("p", null, question.words),
        el(
          "div",
          { class: "actions" },
          el("button", { type: "button", class: "button", onClick: () => close(false) }, "Keep as it is"),
          el(
            "button",
            {
              type: "button",
              class: `button ${question.danger ? "is-danger" : "is-main"}`,
              onClick: () => close(true),
            },
            question.action,
          ),
        ),
      ),
  );
}
