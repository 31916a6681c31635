import { post, query, usePoll } from "./api.js";
import { channel, reason } from "./format.js";
import { Action, el, Empty, Head, Loading, Pager, say, sure, Time, Trouble, useFocusKept, usePages } from "./ui.js";

/** @typedef {import("../src/client/shapes.ts").Message} Message */

const POLL_MS = 5000;
const PAGE = 50;

/** Messages of which nobody knows whether they were sent, and the three ways to settle them. */
export function Unknown() {
  const pages = usePages("");
  /** @type {{ data: import("../src/client/shapes.ts").MessagePage | undefined, problem: any, refresh: () => void }} */
  const { data, problem, refresh } = usePoll(
    `/messages${query({ status: "unknown", cursor: pages.cursor, limit: PAGE })}`,
    POLL_MS,
  );
  useFocusKept(data);
  const settle = (/** @type {Message} */ message, /** @type {string} */ as, /** @type {string} */ said) => async () => {
    if (as === "resend") {
      const yes = await sure({
        title: "Send it again?",
        words: `${message.recipientPhone} may have received this message already, and would then get it twice.`,
        action: "Send again",
        danger: true,
      });
      if (!yes) return;
    }
    await post(`/messages/${message.messageId}/resolve`, { as });
    say(said);
    refresh();
  };
  return el(
    "div",
    null,
    el(Head, {
      title: "Unknown",
      sub: "Nobody can tell whether these people were contacted. Nothing is sent again until you say so.",
    }),
    el(Trouble, { problem }),
    !data && !problem && el(Loading),
    data &&
      data.messages.length === 0 &&
      el(Empty, { title: "Nothing to settle" }, "Every message has come to a clear end."),
    data &&
      el(
        "ul",
        { class: "list" },
        data.messages.map((message) =>
          el(
            "li",
            { key: message.messageId, class: "card item" },
            el(
              "div",
              { class: "item-words" },
              el(
                "p",
                null,
                el("strong", { class: "number" }, message.recipientPhone),
                ` · ${channel(message.channel)}${message.provider ? ` over ${message.provider}` : ""}`,
              ),
              el("p", null, message.detail ?? reason(message.code ?? "ambiguous")),
              el(
                "p",
                { class: "dim" },
                message.huntId
                  ? el("a", { href: `#/hunts/${encodeURIComponent(message.huntId)}` }, message.huntId)
                  : "A single message",
                message.accountId ? ` · ${message.accountId} · ` : " · ",
                el(Time, { iso: message.updatedAt }),
              ),
            ),
            el(
              "div",
              { class: "actions" },
              el(
                Action,
                { run: settle(message, "sent", "It counts as sent."), label: `${message.recipientPhone}: it was sent` },
                "It was sent",
              ),
              el(
                Action,
                {
                  run: settle(message, "not_sent", "It counts as failed; its credit is back."),
                  label: `${message.recipientPhone}: it was not sent`,
                },
                "It was not sent",
              ),
              el(
                Action,
                {
                  run: settle(message, "resend", "It is queued again."),
                  kind: "is-danger",
                  label: `${message.recipientPhone}: send again`,
                },
                "Send again…",
              ),
            ),
          ),
        ),
      ),
    data && el(Pager, { pages, next: data.nextCursor }),
  );
}
