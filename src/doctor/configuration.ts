import type { Config } from "../config.ts";
import type { ChannelConfig } from "../config/channels.ts";
import { messageOf } from "../core/errors.ts";
import type { Fault } from "../core/problem.ts";
import { fault, ok, warning, type Finding } from "./finding.ts";

/** Each variable that is missing or wrong. */
export const faultyVariables = (faults: readonly Fault[]): Finding[] =>
  faults.map(({ pointer, detail }) => fault(`variable ${pointer}`, detail, ".env.example describes it."));

/** What is complete, but not as one would want it. */
export function checkConfiguration({ production, channels, http, compliance }: Config): Finding[] {
  const findings = [ok("variables", "are complete")];
  const isMute = channels.every(({ provider }) => !provider);
  if (isMute) {
    const advice = "Set the credentials of one provider at least; .env.example has their variables.";
    findings.push(fault("channels", "are all off: the service can reach nobody", advice));
  }
  for (const { channel, provider, offBecause } of isMute ? [] : channels) {
    const check = `channel ${channel.name}`;
    if (!provider) findings.push(warning(check, `is off: ${offBecause}`, "Leave it, if nobody is to use it."));
    else if (provider.definition.name === "sandbox" && production) {
      findings.push(warning(check, "is carried by the sandbox: nothing is sent", "Set a provider's credentials."));
    } else findings.push(ok(check, `is carried by ${provider.definition.name}`));
  }
  if (http.publicUrl === undefined && production) {
    const says = "is not set: no receipts come by webhook, and no replies by SMS";
    findings.push(warning("variable PUBLIC_URL", says, "Set it to where the internet reaches the service."));
  }
  if (compliance.salt === undefined && production) {
    const says = "is not set: nobody can be erased";
    findings.push(warning("variable SUPPRESSION_SALT", says, "Set it once, and never change it."));
  }
  return findings;
}

/** Asks each vendor whose credentials are there whether they are right. Never rejects. */
export async function checkProviders(channels: readonly ChannelConfig[]): Promise<Finding[]> {
  const available = new Map(channels.flatMap((each) => each.available).map((each) => [each.definition, each]));
  const findings = [...available.values()].map(async ({ definition, env }): Promise<Finding[]> => {
    if (!definition.verify) return [];
    const check = `provider ${definition.name}`;
    try {
      const wrong = await definition.verify(env);
      if (wrong === undefined) return [ok(check, "takes the credentials")];
      return [fault(check, wrong, "Compare its variables with its console.")];
    } catch (error) {
      const says = `could not be asked: ${messageOf(error)}`;
      return [fault(check, says, "Look at the vendor's status page, and at what the network here lets out.")];
    }
  });
  return (await Promise.all(findings)).flat();
}
