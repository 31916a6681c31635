/** Loads what the service loads, and what it does only when that is wanted: run once, so that all of it is compiled once. */
await Promise.all([
  import("twilio"),
  import("../../dev/stack/index.ts"),
  import("../../src/channels/sms/providers/vonage/sdk.ts"),
  import("../../src/channels/whatsapp/providers/baileys/carrier.ts"),
  import("../../src/config.ts"),
  import("../../src/core/open-telemetry.ts"),
  import("../../src/main.ts"),
  import("../../src/modules.ts"),
]);
process.exit();
