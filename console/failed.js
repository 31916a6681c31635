import { useState } from "preact/hooks";
import { post, query, usePoll } from "./api.js";
import { channel, count, counted } from "./format.js";
import { Action, el, Empty, Head, Loading, Pager, say, sure, Time, Trouble, useFocusKept, usePages } from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").FailedJobPage} FailedJobPage */
/** @typedef {import("../src/client/shapes.ts").RetriedJobs} RetriedJobs */

const POLL_MS = 5000;
const PAGE = 50;

/** Failed jobs by queue; those that provably were not sent can be tried again. */
export function Failed() {
  /** @type {{ data: { queues: import("../src/client/shapes.ts").QueueStats[] } | undefined, problem: any, refresh: () => void }} */
  const stats = usePoll("/queues/stats", POLL_MS);
  const [chosen, setChosen] = useState("");
  const queues = stats.data?.queues ?? [];
  const queue = chosen || (queues.find(({ failed }) => failed > 0) ?? queues[0])?.name;
  const pages = usePages(queue ?? "");
  /** @type {{ data: FailedJobPage | undefined, problem: any, refresh: () => void }} */
  const { data, problem, refresh } = usePoll(
    queue && `/queues/${queue}/failed${query({ cursor: pages.cursor, limit: PAGE })}`,
    POLL_MS,
  );
  useFocusKept(data);
  const failed = queues.find(({ name }) => name === queue)?.failed ?? 0;
  const looked = () => {
    refresh();
    stats.refresh();
  };

  const retryAll = async () => {
    const yes = await sure({
      title: `Try all of ${queue} again?`,
      words: "Only messages that provably were not sent are sent again; nobody gets one twice. The others stay here.",
      action: "Try again",
    });
    if (!yes) return;
    let retried = 0;
    let refused = 0;
    let cursor = "";
    do {
      /** @type {RetriedJobs} */
      const answer = await post(`/queues/${queue}/failed/retry${query({ cursor })}`);
      retried += answer.retried;
      refused += answer.refused.reduce((sum, { count: n }) => sum + n, 0);
      cursor = answer.nextCursor ?? "";
    } while (cursor !== "");
    say(`${counted(retried, "message")} queued again${refused > 0 ? `, ${count(refused)} not: each says why` : ""}.`);
    looked();
  };
  const retry = (/** @type {string} */ jobId) => async () => {
    await post(`/queues/${queue}/failed/${encodeURIComponent(jobId)}/retry`);
    say("It is queued again.");
    looked();
  };

  return el(
    "div",
    null,
    el(
      Head,
      {
        title: "Failed",
        sub: "What came to a bad end. Trying again is offered only where it cannot reach anybody twice.",
      },
      failed > 0 && el(Action, { run: retryAll, kind: "is-main" }, "Try all safe ones again…"),
    ),
    el(Trouble, { problem: problem ?? stats.problem }),
    el(
      "div",
      { class: "chips", role: "group", "aria-label": "Queue" },
      queues.map(({ name, failed: n }) =>
        el(
          "button",
          { key: name, type: "button", class: "chip", "aria-pressed": name === queue, onClick: () => setChosen(name) },
          name,
          " ",
          el("b", null, count(n)),
        ),
      ),
    ),
    !data && !problem && el(Loading),
    data &&
      data.jobs.length === 0 &&
      el(Empty, { title: "Nothing has failed here" }, "Failed jobs stay for two weeks, unless you set another time."),
    data &&
      el(
        "ul",
        { class: "list" },
        data.jobs.map((job) =>
          el(
            "li",
            { key: job.jobId, class: "card item" },
            el(
              "div",
              { class: "item-words" },
              el("p", null, el("strong", null, job.why)),
              job.whyNot && el("p", null, job.whyNot),
              el(
                "p",
                { class: "dim" },
                `${channel(job.channel ?? job.name)} · ${counted(job.attempts, "try", "tries")}${job.code ? ` · ${job.code}` : ""} · `,
                job.huntId && el("a", { href: `#/hunts/${encodeURIComponent(job.huntId)}` }, job.huntId),
                job.huntId && " · ",
                el(Time, { iso: job.failedAt }),
              ),
            ),
            job.retryable &&
              el(
                "div",
                { class: "actions" },
                el(Action, { run: retry(job.jobId), label: `Try ${job.jobId} again` }, "Try again"),
              ),
          ),
        ),
      ),
    data && el(Pager, { pages, next: data.nextCursor }),
  );
}
