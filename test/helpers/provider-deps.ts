import { pino } from "pino";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import { systemClock } from "../../src/core/clock.ts";

/** What a provider is made with; using a part that the test has not given fails the test. */
export function providerDeps(given: Partial<ProviderDeps>): ProviderDeps {
  const absent = <T extends object>(name: string): T =>
    new Proxy({} as T, {
      get: (_, part) => () => {
        throw new Error(`The test did not expect ${name}.${String(part)}.`);
      },
    });
  return {
    clock: systemClock,
    log: pino({ enabled: false }),
    inbound: absent("inbound"),
    sessions: absent("sessions"),
    lanes: absent("lanes"),
    fetchPolicy: undefined,
    publicUrl: undefined,
    ...given,
  };
}
