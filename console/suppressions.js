import { useRef, useState } from "preact/hooks";
import { ask, post, query, remove, usePoll } from "./api.js";
import { count, counted } from "./format.js";
import {
  Action,
  attempt,
  Cell,
  el,
  Empty,
  Field,
  fieldsOf,
  Head,
  Loading,
  Pager,
  PhoneField,
  say,
  sure,
  Table,
  Time,
  Trouble,
  useFocusKept,
  usePages,
} from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").Suppression} Suppression */

const POLL_MS = 10_000;
const PAGE = 50;
const SOURCES = {
  reply: "wrote STOP",
  carrier: "told by the carrier",
  manual: "added by hand",
  import: "from a file",
  erasure: "erased",
};

/** No number has so few digits. @param {string} phone */
const isPart = (phone) => phone !== "" && phone.replaceAll(/\D/g, "").length < 5;

/** Who must not be contacted. */
export function Suppressions() {
  const [filter, setFilter] = useState({ phone: "", accountId: "" });
  const pages = usePages(`${filter.phone} ${filter.accountId}`);
  /** @type {{ data: import("../src/client/shapes.ts").SuppressionPage | undefined, problem: any, refresh: () => void }} */
  const { data, problem, refresh } = usePoll(
    isPart(filter.phone) ? undefined : `/suppressions${query({ ...filter, cursor: pages.cursor, limit: PAGE })}`,
    POLL_MS,
  );
  useFocusKept(data);
  const isFiltered = filter.phone !== "" || filter.accountId !== "";
  const search = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const { phone = "", accountId = "" } = fieldsOf(event);
    setFilter({ phone, accountId });
  };
  const lift =
    (/** @type {Suppression} */ { phone, accountId }) =>
    async () => {
      const yes = await sure({
        title: `Contact ${phone} again?`,
        words: `Taken off the list, ${accountId === null ? "every account" : accountId} may write to this number again.`,
        action: "Take it off the list",
        danger: true,
      });
      if (!yes) return;
      await remove(`/suppressions${query({ phone, accountId })}`);
      say(`${phone} is off the list.`);
      refresh();
    };
  return el(
    "div",
    null,
    el(
      Head,
      { title: "Do not contact", sub: "Nothing is sent to these numbers, not even what is queued already." },
      el(ImportButton, { accountId: filter.accountId, onDone: refresh }),
      el(Action, { run: () => exportAll(filter) }, "Export CSV"),
    ),
    el(AddForm, { onDone: refresh }),
    el(
      "form",
      { class: "inline", role: "search", onSubmit: search },
      el(
        Field,
        { label: "Number" },
        el("input", { name: "phone", type: "search", placeholder: "any", maxLength: 100 }),
      ),
      el(
        Field,
        { label: "Account" },
        el("input", { name: "accountId", type: "search", placeholder: "any", maxLength: 200 }),
      ),
      el("button", { class: "button" }, "Search"),
    ),
    el(Trouble, { problem }),
    isPart(filter.phone) &&
      el(Empty, { title: "That is a part of a number" }, "Give the whole of it, such as +33 6 12 34 56 78."),
    !data && !problem && !isPart(filter.phone) && el(Loading),
    data &&
      data.suppressions.length === 0 &&
      el(
        Empty,
        { title: isFiltered ? "Not on the list" : "Nobody is on the list" },
        isFiltered ? null : "Whoever writes STOP comes here by himself.",
      ),
    data &&
      data.suppressions.length > 0 &&
      el(
        Table,
        { columns: ["Number", "For", "Because", "Since", ""] },
        data.suppressions.map((entry) =>
          el(
            "tr",
            { key: `${entry.phone} ${entry.accountId} ${entry.createdAt}` },
            el(
              Cell,
              { name: "Number", kind: "number" },
              entry.phone ?? el("span", { class: "dim" }, "somebody who was erased"),
            ),
            el(Cell, { name: "For" }, entry.accountId ?? "every account"),
            el(
              Cell,
              { name: "Because", kind: "why" },
              SOURCES[entry.source],
              entry.reason && el("small", { class: "dim" }, entry.reason),
            ),
            el(Cell, { name: "Since" }, el(Time, { iso: entry.createdAt })),
            el(
              "td",
              { class: "last" },
              entry.phone && el(Action, { run: lift(entry), label: `Take ${entry.phone} off the list` }, "Remove…"),
            ),
          ),
        ),
      ),
    data && el(Pager, { pages, next: data.nextCursor }),
  );
}

/** The service gives a file in parts, which are put together here. @param {Record<string, string>} filter */
async function exportAll(filter) {
  const parts = [];
  let cursor = "";
  do {
    const answer = await ask("GET", `/suppressions/export${query({ ...filter, cursor })}`);
    parts.push(await answer.text());
    cursor = answer.headers.get("x-next-cursor") ?? "";
  } while (cursor !== "");
  const address = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: "suppressions.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** @param {{ onDone: () => void }} props */
function AddForm({ onDone }) {
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const entry = Object.fromEntries(Object.entries(fieldsOf(event)).filter(([, value]) => value !== ""));
    if (!(await attempt(() => post("/suppressions", entry)))) return;
    form.reset();
    say("It is on the list, and nothing more is sent to it.");
    onDone();
  };
  return el(
    "form",
    { class: "card form", onSubmit: submit, "aria-label": "Put a number on the list" },
    el(PhoneField, { label: "Number" }),
    el(
      Field,
      { label: "Account" },
      el("input", { name: "accountId", maxLength: 200, placeholder: "every account", autoComplete: "off" }),
    ),
    el(
      Field,
      { label: "Reason" },
      el("input", { name: "reason", maxLength: 500, placeholder: "in your words", autoComplete: "off" }),
    ),
    el("button", { class: "button is-main" }, "Put on the list"),
  );
}

/** @param {{ accountId: string, onDone: () => void }} props */
function ImportButton({ accountId, onDone }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [report, setReport] = useState(
    /** @type {import("../src/client/shapes.ts").ImportedSuppressions | undefined} */ (undefined),
  );
  const take = async () => {
    const file = input.current?.files?.[0];
    if (!file) return;
    await attempt(async () => {
      const answer = await (await ask("POST", `/suppressions/import${query({ accountId })}`, { file })).json();
      setReport(answer);
      say(
        `${counted(answer.taken, "line")} taken, ${count(answer.added)} of them new${answer.faults.length > 0 ? `; ${counted(answer.faults.length, "line")} not` : ""}.`,
      );
      onDone();
    });
    if (input.current) input.current.value = "";
  };
  return [
    el("input", {
      ref: input,
      type: "file",
      accept: ".csv,text/csv",
      class: "hidden",
      tabIndex: -1,
      "aria-label": "CSV file",
      onChange: take,
    }),
    el(
      "button",
      {
        type: "button",
        class: "button",
        title: "A CSV file with a column phone, and if you like accountId and reason",
        onClick: () => input.current?.click(),
      },
      "Import CSV…",
    ),
    report &&
      report.faults.length > 0 &&
      el(
        "details",
        { class: "faults", open: true },
        el("summary", null, `${counted(report.faults.length, "line")} not taken`),
        el(
          "ul",
          null,
          report.faults.slice(0, 100).map(({ line, detail }) => el("li", { key: line }, `Line ${line}: ${detail}`)),
        ),
      ),
  ];
}
