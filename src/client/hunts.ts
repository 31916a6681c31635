import { slept, type Calls } from "./calls.ts";
import { part, queryOf } from "./paths.ts";
import { aborted, type Result } from "./result.ts";
import type {
  AcceptedHunt,
  CallOptions,
  Contact,
  HuntChanges,
  HuntPage,
  HuntPreview,
  HuntSchedule,
  HuntStatus,
  HuntTimeline,
  HuntWithReasons,
  HuntsOptions,
  Message,
  MessagePage,
  MessagesOptions,
  NewHunt,
  PageOptions,
  PostOptions,
  Steered,
  WaitOptions,
} from "./shapes.ts";

const ITERATOR_PAGE = 1000;

/** Hunts: submitted, previewed, followed and steered. */
export interface HuntCalls {
  /** Contacts everybody of a hunt. Errors: `invalid_request`, `unknown_account`, `suspended_account`, `idempotency_conflict`, `hunt_of_other_account`, `hunt_cancelled`, `hunt_differs`, `template_archived`. */
  executeHunt(hunt: NewHunt, options?: PostOptions): Promise<Result<AcceptedHunt>>;
  /**
   * What a hunt would do: texts, segments, credits, who would be skipped and when it would end. Writes nothing. Errors: as
   * `executeHunt`. A big hunt takes as long as its planning: give the client a `timeoutMs` of a minute for 100,000 contacts.
   */
  previewHunt(hunt: NewHunt, options?: CallOptions): Promise<Result<HuntPreview>>;
  /** The same for many contacts, as `streamHunt` takes them. */
  previewHuntStream(
    hunt: Omit<NewHunt, "contacts">,
    contacts: () => Iterable<Contact> | AsyncIterable<Contact>,
    options?: CallOptions,
  ): Promise<Result<HuntPreview>>;
  /**
   * The same for many contacts, 200,000 at the most: they are sent as they are read, and never held all at once. `contacts`
   * is called anew at each attempt and has to give the same ones. An attempt may take five minutes.
   */
  streamHunt(
    hunt: Omit<NewHunt, "contacts">,
    contacts: () => Iterable<Contact> | AsyncIterable<Contact>,
    options?: PostOptions,
  ): Promise<Result<AcceptedHunt>>;
  /** How far the hunt of a submission is. Errors: `not_found`. */
  huntStatus(jobId: string, options?: CallOptions): Promise<Result<HuntStatus>>;
  /** All hunts, the newest first. Errors: `invalid_request`. */
  hunts(options?: HuntsOptions): Promise<Result<HuntPage>>;
  /** One hunt, and why its messages were skipped or failed. Errors: `not_found`. */
  hunt(huntId: string, options?: CallOptions): Promise<Result<HuntWithReasons>>;
  /** A hunt over time, at 2 to 500 moments; default 60. Errors: `not_found`. */
  huntTimeline(huntId: string, options?: CallOptions & { points?: number | undefined }): Promise<Result<HuntTimeline>>;
  /**
   * Looks at a hunt until its state is `finished`, or `cancelled` with nothing planned or being sent any more. Receipts may
   * still come after it. Errors: `not_found`, `aborted`.
   */
  waitForHunt(jobId: string, options?: WaitOptions): Promise<Result<HuntStatus>>;
  /** One page of what became of each contact. Errors: `not_found`. */
  huntMessages(huntId: string, options?: PageOptions): Promise<Result<MessagePage>>;
  /** What became of each contact, over all pages. A fault is the last thing that it yields. */
  eachHuntMessage(huntId: string, options?: MessagesOptions): AsyncGenerator<Result<Message>, void>;
  /**
   * Gives a hunt another time, end, windows or priority; counts at once for what is not being sent, and may be said again.
   * Errors: `invalid_request`, `not_found`, `hunt_cancelled`.
   */
  rescheduleHunt(huntId: string, changes: HuntChanges, options?: CallOptions): Promise<Result<HuntSchedule>>;
  /** Pauses a hunt, goes on with it, or ends it; may be said again. Errors: `not_found`, `hunt_cancelled`. */
  steerHunt(huntId: string, action: "pause" | "resume" | "cancel", options?: PostOptions): Promise<Result<Steered>>;
}

export function huntCalls({ call, get, post, postLines }: Calls): HuntCalls {
  const linesOf: (...of: Parameters<HuntCalls["previewHuntStream"]>) => () => AsyncIterable<unknown> = (
    hunt,
    contacts,
  ) =>
    async function* () {
      yield hunt;
      yield* contacts();
    };

  const huntStatus: HuntCalls["huntStatus"] = (jobId, options) => get(`/api/hunt/status/${part(jobId)}`, options);

  const huntMessages: HuntCalls["huntMessages"] = (huntId, { signal, ...filter } = {}) =>
    get(`/api/hunt/${part(huntId)}/messages${queryOf(filter)}`, { signal });

  return {
    executeHunt: (hunt, options) => post("/api/hunt/execute", hunt, options),
    // No `Idempotency-Key`: it may be asked as often as one likes.
    previewHunt: (hunt, { signal } = {}) => call({ method: "POST", path: "/api/hunt/preview", body: hunt, signal }),
    previewHuntStream: (hunt, contacts, { signal } = {}) =>
      call({ method: "POST", path: "/api/hunt/preview", lines: linesOf(hunt, contacts), signal }),
    streamHunt: (hunt, contacts, options) => postLines("/api/hunt/execute", linesOf(hunt, contacts), options),
    huntStatus,
    hunts: ({ signal, ...filter } = {}) => get(`/api/hunts${queryOf(filter)}`, { signal }),
    hunt: (huntId, options) => get(`/api/hunts/${part(huntId)}`, options),
    huntTimeline: (huntId, { signal, ...filter } = {}) =>
      get(`/api/hunts/${part(huntId)}/timeline${queryOf(filter)}`, { signal }),
    async waitForHunt(jobId, { pollMs = 1000, patienceMs = 60_000, signal, onStatus } = {}) {
      let failingSince: number | undefined;
      for (;;) {
        const result = await huntStatus(jobId, { signal });
        if (result.ok) {
          failingSince = undefined;
          onStatus?.(result.value);
          if (hasEnded(result.value)) return result;
        } else {
          failingSince ??= Date.now();
          if (!result.error.retryable || Date.now() - failingSince >= patienceMs) return result;
        }
        if (!(await slept(pollMs, signal))) return aborted();
      }
    },
    huntMessages,
    async *eachHuntMessage(huntId, options = {}) {
      let cursor: string | undefined;
      do {
        const page = await huntMessages(huntId, { ...options, cursor, limit: ITERATOR_PAGE });
        if (!page.ok) {
          yield page;
          return;
        }
        for (const value of page.value.messages) yield { ok: true, value };
        cursor = page.value.nextCursor ?? undefined;
      } while (cursor !== undefined);
    },
    rescheduleHunt: (huntId, changes, { signal } = {}) =>
      call({ method: "PATCH", path: `/api/hunts/${part(huntId)}`, body: changes, signal }),
    steerHunt: (huntId, action, options) => post(`/api/hunt/${part(huntId)}/${action}`, undefined, options),
  };
}

/** What was being sent when a hunt was cancelled is still sent. */
function hasEnded({ state, finishedAt }: HuntStatus): boolean {
  return state === "finished" || (state === "cancelled" && finishedAt !== null);
}
