/** `npm run doctor`: looks at the environment and .env; without addresses there, at what `npm run dev` or `npm run services` run. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { doctor } from "../src/doctor.ts";
import { dataDirectory, ROOT, say } from "./command.ts";
import { apiKey, loadSecrets } from "./stack/keys.ts";
import { rememberedPorts } from "./stack/ports.ts";

const dotenv = join(ROOT, ".env");
if (existsSync(dotenv)) process.loadEnvFile(dotenv);
process.exitCode = await doctor(process.argv.slice(2), { ...embedded(), ...process.env }, (text) =>
  process.stdout.write(text),
);

/** The addresses of the embedded stack, when the environment names nothing of its own. */
function embedded(): Record<string, string> {
  const { env } = process;
  if (env["REDIS_URL"] || env["SUPABASE_URL"]) return {};
  const dataDir = dataDirectory(env);
  const ports = rememberedPorts(dataDir);
  if (ports.redis === undefined || ports.supabase === undefined) return {};
  // On standard error: what follows may be read by a program.
  say(`REDIS_URL and SUPABASE_URL are not set: this is about the embedded stack in ${dataDir}`);
  return {
    API_SECRET: "dev-secret",
    REDIS_URL: `redis://127.0.0.1:${ports.redis}`,
    SUPABASE_URL: `http://127.0.0.1:${ports.supabase}`,
    SUPABASE_SERVICE_KEY: apiKey("service_role", loadSecrets(dataDir).jwtSecret),
  };
}
