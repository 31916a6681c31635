/** `src/index.ts`, for a test whose webhooks go to a receiver on loopback. */
import { readConfig } from "../../src/config.ts";
import { runService } from "../../src/main.ts";
import { CHANNELS } from "../../src/modules.ts";
import { LOOPBACK } from "../fakes/twilio-voice/file-server.ts";

await runService(process, readConfig(process.env, CHANNELS, LOOPBACK), { version: "test", fetchPolicy: LOOPBACK });
