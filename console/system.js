import { usePoll } from "./api.js";
import { check as checkName, count, duration } from "./format.js";
import { Cell, el, Head, Loading, Pill, Table, Trouble } from "./ui.js";

const POLL_MS = 2000;
const COLUMNS = ["Queue", "Waiting", "Active", "Put off", "Failed", "Done", ""];

/** Queues that nothing is put into and no worker serves yet. */
const UNUSED = new Set(["scraping"]);

/** Health, and the queues at a glance. */
export function System() {
  /** @type {{ data: import("../src/client/shapes.ts").Readiness | undefined, problem: any }} */
  const ready = usePoll("/ready", POLL_MS, { alsoGood: 503 });
  /** @type {{ data: import("../src/client/shapes.ts").Health | undefined }} */
  const health = usePoll("/health", POLL_MS);
  /** @type {{ data: { queues: import("../src/client/shapes.ts").QueueStats[] } | undefined, problem: any }} */
  const stats = usePoll("/queues/stats", POLL_MS);
  const about = health.data && `Version ${health.data.version}, up for ${duration(health.data.uptimeSeconds)}.`;
  return el(
    "div",
    null,
    el(
      Head,
      { title: "System", sub: about ?? "How the service is." },
      el("a", { class: "button", href: "/admin/queues" }, "Open Bull Board"),
    ),
    el(Trouble, { problem: ready.problem }),
    el("h2", null, "Health"),
    !ready.data && !ready.problem && el(Loading, { rows: 2 }),
    ready.data &&
      el(
        "ul",
        { class: "checks" },
        Object.entries(ready.data.checks).map(([name, check]) =>
          el(
            "li",
            { key: name, class: "card check" },
            el("span", { class: `dot is-${check.ok ? "good" : "bad"}`, "aria-hidden": "true" }),
            el("strong", null, checkName(name)),
            el("span", { class: check.ok ? "dim" : "bad" }, check.ok ? "well" : check.detail),
          ),
        ),
      ),
    el("h2", null, "Queues"),
    el(
      "p",
      { class: "dim note" },
      "Messages of hunts wait in the database and come into their queue a little at a time.",
    ),
    el(Trouble, { problem: stats.problem }),
    !stats.data && !stats.problem && el(Loading),
    stats.data &&
      el(
        Table,
        { columns: COLUMNS, right: COLUMNS.slice(1, -1) },
        stats.data.queues.map((queue) =>
          el(
            "tr",
            { key: queue.name },
            el(
              Cell,
              { name: "Queue" },
              el("strong", null, queue.name),
              queue.paused && [" ", el(Pill, { state: "paused" })],
              UNUSED.has(queue.name) && el("span", { class: "dim" }, " not in use yet"),
            ),
            [queue.waiting, queue.active, queue.delayed, queue.failed, queue.completed].map((n, i) =>
              el(Cell, { name: COLUMNS[i + 1], kind: `number right${n === 0 ? " dim" : ""}` }, count(n)),
            ),
            el(
              "td",
              { class: "last" },
              el(
                "a",
                {
                  href: `/admin/queues/queue/${encodeURIComponent(queue.name)}`,
                  "aria-label": `${queue.name} in Bull Board`,
                },
                "Bull Board",
              ),
            ),
          ),
        ),
      ),
  );
}
