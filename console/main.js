import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { usePoll } from "./api.js";
import { check as checkName } from "./format.js";
import { Failed } from "./failed.js";
import { Hunt } from "./hunt.js";
import { Hunts } from "./hunts.js";
import { Senders } from "./senders.js";
import { Suppressions } from "./suppressions.js";
import { System } from "./system.js";
import { el, Voice } from "./ui.js";
import { Unknown } from "./unknown.js";
import { WhatsApp } from "./whatsapp.js";

const BADGE_MS = 10_000;
/** More are not counted for a badge. */
const BADGE_MOST = 99;

const PAGES = [
  { name: "hunts", title: "Hunts", page: Hunts },
  { name: "unknown", title: "Unknown", page: Unknown },
  { name: "failed", title: "Failed", page: Failed },
  { name: "whatsapp", title: "WhatsApp", page: WhatsApp },
  { name: "senders", title: "Senders", page: Senders },
  { name: "suppressions", title: "Do not contact", page: Suppressions },
  { name: "system", title: "System", page: System },
];

/** `#/hunts/hunt_123` is ["hunts", "hunt_123"]. */
function placeOf() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return [];
  }
}

function App() {
  const [place, setPlace] = useState(placeOf);
  useEffect(() => {
    const onMove = () => {
      setPlace(placeOf());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", onMove);
    return () => removeEventListener("hashchange", onMove);
  }, []);
  const [name = "hunts", id] = place;
  const { page } = PAGES.find((each) => each.name === name) ?? { page: Hunts };
  return el(
    "div",
    { class: "frame" },
    el("a", { class: "skip", href: "#content", onClick: skip }, "Skip to the content"),
    el(Side, { name }),
    el(
      "main",
      { id: "content", tabIndex: -1 },
      name === "hunts" && id !== undefined ? el(Hunt, { key: id, id }) : el(page, { key: name }),
    ),
    el("footer", null, el(Links)),
    el(Voice),
  );
}

/** The hash says where we are, so it cannot lead within the page as well. @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

/** @param {{ name: string }} props */
function Side({ name }) {
  const nav = useRef(/** @type {HTMLElement | null} */ (null));
  // On a phone there are more pages than fit beside each other.
  useEffect(
    () => nav.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }),
    [name],
  );
  /** @type {{ data: import("../src/client/shapes.ts").Readiness | undefined, problem: any }} */
  const ready = usePoll("/ready", BADGE_MS, { alsoGood: 503 });
  /** @type {{ data: import("../src/client/shapes.ts").MessagePage | undefined }} */
  const unknown = usePoll(`/messages?status=unknown&limit=${BADGE_MOST + 1}`, BADGE_MS);
  const health = ready.data;
  const waiting = unknown.data?.messages.length ?? 0;
  const failing = Object.entries(health?.checks ?? {}).filter(([, check]) => !check.ok);
  const [mood, words] = ready.problem
    ? ["bad", "No answer"]
    : !health
      ? ["none", "Looking…"]
      : health.ready
        ? ["good", "All is well"]
        : ["bad", `Not well: ${failing.map(([name]) => checkName(name)).join(", ")}`];
  return el(
    "div",
    { class: "side" },
    el(
      "a",
      { class: "brand", href: "#/hunts" },
      el("img", { src: "/admin/console/icon.svg", alt: "", width: 26, height: 26 }),
      "Auto-Prospect",
    ),
    el(
      "nav",
      { ref: nav, "aria-label": "Console" },
      PAGES.map((page) =>
        el(
          "a",
          { key: page.name, href: `#/${page.name}`, "aria-current": page.name === name ? "page" : undefined },
          page.title,
          page.name === "unknown" && waiting > 0
            ? el(
                "span",
                { class: "badge", "aria-label": `${waiting} to be settled` },
                waiting > BADGE_MOST ? `${BADGE_MOST}+` : waiting,
              )
            : null,
        ),
      ),
    ),
    el("a", { class: "mood", href: "#/system" }, el("span", { class: `dot is-${mood}`, "aria-hidden": "true" }), words),
    el(Links),
  );
}

/** At the side, and on a phone below the page. */
const Links = () =>
  el(
    "div",
    { class: "links" },
    el("a", { href: "/admin/queues" }, "Bull Board"),
    el("a", { href: "/docs" }, "API"),
    el(
      "form",
      { method: "post", action: "/admin/logout" },
      el("button", { type: "submit", class: "plain" }, "Log out"),
    ),
  );

const app = document.getElementById("app");
if (app) {
  app.replaceChildren();
  render(el(App), app);
}
