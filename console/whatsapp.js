import { useEffect, useRef, useState } from "preact/hooks";
import { ask, post, remove, usePoll } from "./api.js";
import { count, counted } from "./format.js";
import {
  Action,
  attempt,
  el,
  Empty,
  Field,
  fieldsOf,
  Head,
  Loading,
  Pill,
  PhoneField,
  say,
  sure,
  Time,
  Trouble,
  useFocusKept,
} from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").WhatsAppSession} Session */

const POLL_MS = 1500;

/** What each state means for whoever looks after the number. @type {Record<Session["state"], string>} */
const MEANING = {
  pairing: "Waits for the phone",
  connecting: "Connecting",
  open: "Sends",
  "backing-off": "Will connect again by itself",
  "logged-out": "The phone has unlinked it: pair it again",
  banned: "WhatsApp has banned this number",
  stopped: "Somebody has to look at it",
};

/** Paired numbers, and pairing one on this page. */
export function WhatsApp() {
  /** @type {{ data: { sessions: Session[], off?: string } | undefined, problem: any, refresh: () => void }} */
  const { data, problem, refresh } = usePoll("/whatsapp/sessions", POLL_MS);
  useFocusKept(data);
  return el(
    "div",
    null,
    el(Head, { title: "WhatsApp", sub: "The numbers that send, and how each of them is." }),
    data?.off && el(Empty, { title: "No number can be paired here" }, data.off),
    data && !data.off && el(PairForm, { onPaired: refresh }),
    el(Trouble, { problem }),
    !data && !problem && el(Loading),
    data?.sessions.length === 0 &&
      !data.off &&
      el(
        Empty,
        { title: "No number is paired" },
        "Pair one above: its owner scans a picture, and it sends from then on.",
      ),
    data &&
      el(
        "ul",
        { class: "list" },
        pairingFirst(data.sessions).map((session) => el(SessionItem, { key: session.id, session, refresh })),
      ),
  );
}

/** What is to be scanned now comes first. @param {Session[]} sessions */
const pairingFirst = (sessions) =>
  sessions.toSorted((a, b) => Number(b.state === "pairing") - Number(a.state === "pairing"));

/** @param {{ onPaired: () => void }} props */
function PairForm({ onPaired }) {
  const [busy, setBusy] = useState(false);
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const { accountId, phone, method } = fieldsOf(event);
    setBusy(true);
    const done = await attempt(() => post("/whatsapp/sessions", { accountId, phone, method }));
    setBusy(false);
    if (!done) return;
    form.reset();
    say("Pairing has begun.");
    onPaired();
  };
  return el(
    "form",
    { class: "card form", onSubmit: submit, "aria-label": "Pair a number" },
    el(
      Field,
      { label: "Account" },
      el("input", { name: "accountId", required: true, maxLength: 200, autoComplete: "off" }),
    ),
    el(PhoneField, { label: "Number of the phone" }),
    el(
      Field,
      { label: "How" },
      el(
        "select",
        { name: "method" },
        el("option", { value: "qr" }, "Scan a picture"),
        el("option", { value: "code" }, "Type a code"),
      ),
    ),
    el("button", { class: "button is-main", "aria-busy": busy }, "Pair a number"),
  );
}

/** @param {{ session: Session, refresh: () => void }} props */
function SessionItem({ session, refresh }) {
  const { id, phone, accountId, state, since, lastError, coldPausedUntil } = session;
  const dismiss = async () => {
    const yes = await sure({
      title: `Log ${phone} out?`,
      words:
        "The phone unlinks this device and its keys are wiped. Messages that wait for it leave from another number of the account, or fail.",
      action: "Log it out",
      danger: true,
    });
    if (!yes) return;
    await remove(`/whatsapp/sessions/${id}`);
    say(`${phone} is being logged out.`);
    refresh();
  };
  return el(
    "li",
    { class: "card item" },
    el(
      "div",
      { class: "item-words" },
      el("p", null, el("strong", { class: "number" }, phone), " ", el(Pill, { state, words: state.replace("-", " ") })),
      el("p", null, MEANING[state], el("span", { class: "dim" }, " · ", accountId, " · ", el(Time, { iso: since }))),
      lastError && el("p", { class: "bad" }, lastError),
      coldPausedUntil &&
        el("p", null, "WhatsApp has restricted it: first contacts go on ", el(Time, { iso: coldPausedUntil }), "."),
      state !== "pairing" && el(Pace, { pace: session.pace }),
    ),
    state === "pairing" && el(Pairing, { session }),
    el(
      "div",
      { class: "actions" },
      el(Action, { run: dismiss, kind: "is-danger", label: `Log ${phone} out` }, "Log out…"),
    ),
  );
}

/** What its owner says of its pace; what it does not say is left out. @param {{ pace: Record<string, unknown> }} props */
function Pace({ pace }) {
  const { messagesPerMinute, newContactsToday, newContactsAllowedToday, waiting } = pace;
  const words = [
    typeof messagesPerMinute === "number" && `up to ${count(messagesPerMinute)} a minute`,
    typeof newContactsToday === "number" &&
      (typeof newContactsAllowedToday === "number"
        ? `${count(newContactsToday)} of ${count(newContactsAllowedToday)} first contacts today`
        : counted(newContactsToday, "first contact") + " today"),
    typeof waiting === "number" && waiting > 0 && `${count(waiting)} waiting`,
  ].filter(Boolean);
  return words.length === 0 ? null : el("p", { class: "dim" }, words.join(" · "));
}

/** What the phone is to scan, or its owner to type. @param {{ session: Session }} props */
function Pairing({ session: { id, qr, pairingCode, method } }) {
  if (method === "code") {
    return el(
      "div",
      { class: "pairing" },
      el(
        "p",
        { class: "code", "aria-label": pairingCode ? `The code ${pairingCode.split("").join(" ")}` : undefined },
        pairingCode ?? "…",
      ),
      el("p", { class: "dim" }, "On the phone: WhatsApp, Linked devices, Link a device, Link with phone number."),
    );
  }
  return el(
    "div",
    { class: "pairing" },
    qr === undefined
      ? el("p", { class: "dim", role: "status" }, "The picture is on its way…")
      : el(QrPicture, { id, qr }),
    el(
      "p",
      { class: "dim" },
      "On the phone: WhatsApp, Linked devices, Link a device. The picture changes every minute or so.",
    ),
  );
}

/** Drawn, not linked: a picture at the same address would come from memory when the code changes. @param {{ id: string, qr: string }} props */
function QrPicture({ id, qr }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const ended = new AbortController();
    const draw = async () => {
      const response = await ask("GET", `/whatsapp/sessions/${id}/qr.png`, { signal: ended.signal });
      const picture = await createImageBitmap(await response.blob());
      const target = canvas.current;
      if (!target || ended.signal.aborted) return;
      target.width = picture.width;
      target.height = picture.height;
      target.getContext("2d")?.drawImage(picture, 0, 0);
    };
    // A code that has just been replaced has no picture any more; the next one comes with the next look.
    draw().catch(() => {});
    return () => ended.abort();
  }, [id, qr]);
  return el("canvas", { ref: canvas, class: "qr", role: "img", "aria-label": "QR code to scan with the phone" });
}
