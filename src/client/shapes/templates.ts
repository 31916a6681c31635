import type { Channel } from "./messages.ts";

/** A text of an account's own, for its hunts. */
export interface NewTemplate {
  accountId: string;
  /** For people; 1 to 200 characters. */
  name: string;
  /** Default: every channel that carries a text. */
  channel?: Channel | null | undefined;
  /** In Liquid, at most 10,000 characters. */
  text: string;
}

/** A template in its newest version. Times are ISO 8601, in UTC. */
export interface Template {
  templateId: string;
  accountId: string;
  name: string;
  channel: string | null;
  version: number;
  text: string;
  createdAt: string;
  updatedAt: string;
  /** No hunt may use it from then on. */
  archivedAt: string | null;
}

/** With its versions, the newest first, at most 100. */
export interface TemplateWithVersions extends Template {
  versions: { version: number; text: string; createdAt: string }[];
}

export interface TemplatePage {
  templates: Template[];
  nextCursor: string | null;
}

/** The version that a text has become. */
export interface PutTemplate {
  templateId: string;
  version: number;
}
