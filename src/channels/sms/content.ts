import type { TextContent } from "../text.ts";

/** What an SMS says. */
export interface SmsContent extends TextContent {
  /** As counted when it was accepted. */
  segments?: number;
}
