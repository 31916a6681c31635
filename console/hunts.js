import { useState } from "preact/hooks";
import { query, usePoll } from "./api.js";
import { Bar, progressWords } from "./progress.js";
import { el, Empty, Field, fieldsOf, Head, Loading, Pager, Pill, Time, Trouble, usePages } from "./ui.js";

const POLL_MS = 1500;
const PAGE = 20;

/** All hunts, the newest first, each with how far it is. */
export function Hunts() {
  const [account, setAccount] = useState("");
  const pages = usePages(account);
  /** @type {{ data: import("../src/client/shapes.ts").HuntPage | undefined, problem: any }} */
  const { data, problem } = usePoll(
    `/hunts${query({ accountId: account, cursor: pages.cursor, limit: PAGE })}`,
    POLL_MS,
  );
  const apply = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    setAccount(fieldsOf(event)["account"] ?? "");
  };
  return el(
    "div",
    null,
    el(
      Head,
      { title: "Hunts", sub: "What is being sent, and how far it is." },
      el(
        "form",
        { class: "inline", role: "search", onSubmit: apply },
        el(
          Field,
          { label: "Account" },
          el("input", { name: "account", placeholder: "any", maxLength: 200, autoComplete: "off" }),
        ),
        el("button", { class: "button" }, "Show"),
      ),
    ),
    el(Trouble, { problem }),
    !data && !problem && el(Loading, { rows: 5 }),
    data &&
      data.hunts.length === 0 &&
      el(
        Empty,
        { title: account === "" ? "No hunt yet" : "This account has no hunt" },
        "A hunt appears here as soon as the web app submits one.",
      ),
    data &&
      el(
        "ul",
        { class: "hunts" },
        data.hunts.map((hunt) =>
          el(
            "li",
            { key: hunt.huntId },
            el(
              "a",
              { class: "hunt card", href: `#/hunts/${encodeURIComponent(hunt.huntId)}` },
              el(
                "span",
                { class: "hunt-name" },
                el("strong", null, hunt.huntId),
                el("span", { class: "dim" }, hunt.accountId, " · ", el(Time, { iso: hunt.createdAt })),
              ),
              el(
                "span",
                { class: "hunt-bar" },
                el(Bar, { counts: hunt.counts, total: hunt.total }),
                el("span", { class: "dim" }, progressWords(hunt)),
              ),
              el(Pill, { state: hunt.state }),
            ),
          ),
        ),
      ),
    data && el(Pager, { pages, next: data.nextCursor }),
  );
}
