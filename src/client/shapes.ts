/** What goes in and out of the service's API, by room. test/unit/client/shapes.test.ts keeps these the server's own shapes. */

export type * from "./shapes/calls.ts";
export type * from "./shapes/messages.ts";
export type * from "./shapes/hunts.ts";
export type * from "./shapes/hunt-status.ts";
export type * from "./shapes/recurrences.ts";
export type * from "./shapes/templates.ts";
export type * from "./shapes/whatsapp.ts";
export type * from "./shapes/phone.ts";
export type * from "./shapes/accounts.ts";
export type * from "./shapes/suppressions.ts";
export type * from "./shapes/events.ts";
export type * from "./shapes/operations.ts";
