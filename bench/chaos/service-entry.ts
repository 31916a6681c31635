/** src/index.ts, but for the provider of voice: that one speaks to the harness' double. */
import { readConfig } from "../../src/config.ts";
import { runService } from "../../src/main.ts";
import { CHANNELS } from "../../src/modules.ts";
import { httpProvider } from "./http-provider.ts";

const providers = { ringless_voice: httpProvider("chaos-voice", process.env["CHAOS_DOUBLE_URL"] ?? "") };
await runService(process, readConfig(process.env, CHANNELS), { version: "chaos", providers });
