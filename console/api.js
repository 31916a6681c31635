import { useCallback, useEffect, useRef, useState } from "preact/hooks";

const API = "/admin/api";
const LOGIN = "/admin/login";
/** The database is not asked for more than a tenth of its time, however long an answer takes. */
const PATIENCE = 10;

/** What the service answered in place of what was asked for; its message is for people. */
export class Problem extends Error {
  /** @param {string} message @param {string} [code] @param {number} [status] */
  constructor(message, code = "unreachable", status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/**
 * Asks the service. `path` is one of the API's below `/api`, or a public one as it is, such as `/ready`.
 *
 * @param {string} method
 * @param {string} path
 * @param {{ body?: unknown, file?: Blob, signal?: AbortSignal, alsoGood?: number }} [options]
 * @returns {Promise<Response>}
 */
export async function ask(method, path, { body, file, signal, alsoGood } = {}) {
  const isPublic = path === "/ready" || path === "/health";
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Content-Type"] = file ? "text/csv" : "application/json";
  const content = file ?? (body === undefined ? undefined : JSON.stringify(body));
  /** @type {Response} */
  let response;
  try {
    response = await fetch(isPublic ? path : API + path, {
      method,
      headers,
      ...(content === undefined ? {} : { body: content }),
      signal: signal ?? null,
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("The service does not answer. This page goes on asking.");
  }
  if (response.ok || response.status === alsoGood) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) location.assign(LOGIN);
  const faults = (problem.errors ?? []).map(
    (/** @type {{ pointer: string, detail: string }} */ { pointer, detail }) =>
      `${pointer.split("/").at(-1) || "the file"} ${detail}`,
  );
  const words = faults.length > 0 ? faults.join("; ") : (problem.detail ?? `The service answered ${response.status}.`);
  throw new Problem(words, problem.code, response.status);
}

/** @param {string} path @param {{ signal?: AbortSignal, alsoGood?: number }} [options] @returns {Promise<any>} */
const get = async (path, options) => (await ask("GET", path, options)).json();
/** @param {string} path @param {unknown} [body] @returns {Promise<any>} */
export const post = async (path, body) => (await ask("POST", path, { body })).json();
/** @param {string} path @param {unknown} body @returns {Promise<any>} */
export const patch = async (path, body) => (await ask("PATCH", path, { body })).json();
/** @param {string} path @returns {Promise<any>} */
export const remove = async (path) => (await ask("DELETE", path)).json();

/**
 * A query string of what is there.
 *
 * @param {Record<string, string | number | undefined | null | false>} filter
 */
export function query(filter) {
  const present = Object.entries(filter).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const parameters = new URLSearchParams(present.map(([name, value]) => [name, String(value)]));
  return present.length === 0 ? "" : `?${parameters.toString()}`;
}

/**
 * What is at a path, asked for again and again while the page is to be seen. What was there stays while the service is away.
 *
 * @template T
 * @param {string | undefined} path undefined: nothing is asked for
 * @param {number} everyMs
 * @param {{ alsoGood?: number }} [options]
 * @returns {{ data: T | undefined, problem: Problem | undefined, refresh: () => void }}
 */
export function usePoll(path, everyMs, options) {
  const [state, setState] = useState(
    /** @type {{ path?: string | undefined, data?: T, problem?: Problem }} */ ({ path: undefined }),
  );
  const wake = useRef(() => {});
  useEffect(() => {
    if (path === undefined) return;
    const ended = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    let asking = false;
    let again = false;
    const look = async () => {
      clearTimeout(timer);
      if (asking) {
        again = true;
        return;
      }
      if (document.hidden) return;
      asking = true;
      const startedAt = performance.now();
      try {
        const data = await get(path, { signal: ended.signal, ...options });
        if (!ended.signal.aborted) setState({ path, data });
      } catch (error) {
        if (ended.signal.aborted) return;
        const problem = error instanceof Problem ? error : new Problem("The answer cannot be read.");
        setState((before) => ({ ...(before.path === path ? before : { path }), problem }));
      } finally {
        asking = false;
      }
      if (ended.signal.aborted) return;
      const pause = again ? 0 : Math.max(everyMs, PATIENCE * (performance.now() - startedAt));
      again = false;
      timer = setTimeout(() => void look(), pause);
    };
    wake.current = () => void look();
    document.addEventListener("visibilitychange", wake.current);
    void look();
    return () => {
      ended.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake.current);
    };
  }, [path, everyMs]);
  const refresh = useCallback(() => wake.current(), []);
  // What belongs to another path is not shown for a moment under this one.
  const own = state.path === path ? state : { data: undefined, problem: undefined };
  return { data: own.data, problem: own.problem, refresh };
}
