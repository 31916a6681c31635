import { existsSync, readdirSync } from "node:fs";
import { diagnose } from "./doctor/diagnose.ts";
import { isWell, reportOf } from "./doctor/report.ts";
import { CHANNELS } from "./modules.ts";

const MIGRATIONS = new URL("../supabase/migrations/", import.meta.url);

/**
 * Says what is wrong with an environment and with what it names. Exit codes: 0 nothing, 1 something, 2 unknown arguments.
 * `--json`: one object, `{ ok, findings: [{ check, state, says, advice? }] }`.
 */
export async function doctor(
  args: readonly string[],
  environment: Record<string, string | undefined>,
  write: (text: string) => unknown,
): Promise<number> {
  if (args.some((arg) => arg !== "--json")) {
    write("usage: npm run doctor [-- --json]   (in the service's environment)\n");
    return 2;
  }
  const files = existsSync(MIGRATIONS) ? readdirSync(MIGRATIONS).filter((file) => file.endsWith(".sql")) : [];
  const migrations = files.map((file) => file.split("_", 1)[0] ?? file);
  const findings = await diagnose({ environment, channels: CHANNELS, migrations });
  write(args.length > 0 ? `${JSON.stringify({ ok: isWell(findings), findings })}\n` : reportOf(findings));
  return isWell(findings) ? 0 : 1;
}

if (import.meta.main) {
  process.exitCode = await doctor(process.argv.slice(2), process.env, (text) => process.stdout.write(text));
}
