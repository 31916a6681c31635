import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import type { Queue } from "bullmq";
import { Router, type Express, type NextFunction, type Request, type Response } from "express";
import { redact } from "../core/logger.ts";
import { httpProblem } from "./problems.ts";

/**
 * Its page has inline styles and its graph library adds more; scripts come as files, and its web fonts, which would
 * tell Google who operates this, are left out (`changePage`).
 */
const BOARD_CSP =
  "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

/**
 * All that operators may change there: queues are held and let go. Whatever else the board can do, or learns to do, goes round
 * the ledger: a job that is added, edited or run anew, a recurrence that runs now or by another pattern contacts people again.
 */
const ALLOWED = /^\/api\/queues\/(?:[^/]+\/)?(?:pause|resume)\/?$/i;
const LOOKING = new Set(["GET", "HEAD", "OPTIONS"]);

/** The queues of the registry, and the lanes that there are now. */
export interface Shown {
  readonly all: readonly Queue[];
  lanes(): Promise<readonly Queue[]>;
}

export interface BullBoardOptions {
  queues: Shown;
  /** Where it is mounted, e.g. `/admin/queues`. */
  basePath: string;
}

/** Bull Board with every queue, numbers and texts masked. */
export function createBoard({ queues, basePath }: BullBoardOptions): Router {
  const serverAdapter = new ExpressAdapter().setBasePath(basePath);
  const registry = queues.all.map((queue) => new LookedAt(queue));
  const { replaceQueues } = createBullBoard({
    queues: registry,
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: "Auto-Prospect",
        hideDocsLink: true,
        miscLinks: [
          { text: "Console", url: "/admin" },
          { text: "API", url: "/docs" },
          { text: "Log out", url: "/admin/logout" },
        ],
      },
    },
  });
  const router = Router();
  router.use("/api/queues", async (_request, _response, next) => {
    // With the database away it shows the lanes that it knows of.
    const lanes = await queues.lanes().catch(() => undefined);
    if (lanes) replaceQueues([...registry, ...lanes.map((lane) => new LookedAt(lane))]);
    next();
  });
  const board = serverAdapter.getRouter() as Express;
  board.disable("x-powered-by");
  changePage(board);
  router.use(board);
  return router;
}

type Engine = (path: string, options: object, done: (error: unknown, html?: string) => void) => void;

/** Leaves out of its page the fonts that its policy refuses, of which each browser would complain; hides what is refused. */
function changePage(board: Express): void {
  const { ".ejs": render } = (board as unknown as { engines: Record<string, Engine> }).engines;
  if (!render) return;
  board.engine("ejs", (path, options, done) =>
    render(path, options, (error, html) =>
      done(error, html?.replaceAll(FONTS, "").replace("</head>", `<style>${HIDDEN}</style>\n</head>`)),
    ),
  );
}

const FONTS = /<link\b[^>]*\bhttps:\/\/fonts\.[^>]*>\s*/g;

/**
 * The buttons of what `boardGuard` refuses. Its read-only mode would hide "Pause" and "Resume" with them: of a queue's own menu, the
 * one with a dangerous item, these stay.
 */
const HIDDEN = `
ul[class*="jobActions-"],ul[class*="queueActions-"],td[class*="actionsCell-"]>button,button[class*="editButton-"],
[role=menu]:has([class*="danger-"]) [role=menuitem]:not(:has(.lucide-pause,.lucide-play)){display:none!important}
`;

/** A queue that is looked at, and held. */
class LookedAt extends BullMQAdapter {
  constructor(queue: Queue) {
    super(queue, { allowRetries: false });
    this.setFormatter("data", maskJobData);
    this.setFormatter("returnValue", maskJobData);
  }

  override get supportsGlobalRateLimit(): boolean {
    return false;
  }
}

/** A job's data as an operator may see it: enough to tell two recipients apart, too little to call one. */
export function maskJobData(data: unknown): unknown {
  return redact(data, mask);
}

function mask(value: unknown): unknown {
  if (typeof value !== "string") return "[masked]";
  if (/^\+?\d{6,}$/.test(value)) return `${value.slice(0, 3)}…${value.slice(-2)}`;
  return `[${value.length} characters]`;
}

/** Stands before the board: its policy, and what it must not do. */
export function boardGuard(request: Request, response: Response, next: NextFunction): void {
  response.setHeader("Content-Security-Policy", BOARD_CSP);
  if (!LOOKING.has(request.method) && !(request.method === "PUT" && ALLOWED.test(request.path))) {
    throw httpProblem(
      "refused_here",
      "Bull Board only looks at jobs and holds queues here. Use POST /api/jobs/:queue/:jobId/retry: it makes sure that nothing is sent twice.",
    );
  }
  next();
}
