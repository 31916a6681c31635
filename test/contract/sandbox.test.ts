import type { Receipt } from "../../src/core/inbound.ts";
import { sandboxProvider } from "../../src/channels/sandbox.ts";
import { type ProviderUnderTest, type Situation, describeProvider } from "./provider-contract.ts";
import { providerDeps } from "../helpers/provider-deps.ts";

const RECIPIENTS = {
  accepts: "+33612341234",
  refuses_for_good: "+33612340001",
  limits_rate: "+33612340002",
  fails_before_accepting: "+33612340003",
  never_answers: "+33612341234",
  times_out_unresolvably: "+33612340004",
} satisfies Partial<Record<Situation, string>>;

async function startSandbox(): Promise<ProviderUnderTest> {
  const receipts: Receipt[] = [];
  const inbound = {
    receipt: async (receipt: Receipt) => receipts.push(receipt) > 0,
    reply: async () => ({ firstStop: false }),
  };
  const provider = await sandboxProvider("sms").create(
    { SANDBOX_LATENCY_MS: 5, SANDBOX_RECEIPT_DELAY_MS: 60_000 },
    providerDeps({ inbound }),
  );
  return {
    provider,
    recipientFor: (situation) => RECIPIENTS[situation as keyof typeof RECIPIENTS],
    // Each accepted message gives one receipt, and closing delivers those that are outstanding.
    async acceptedFor() {
      await provider.close?.();
      return receipts.length;
    },
    secrets: [],
    [Symbol.asyncDispose]: () => provider.close?.() ?? Promise.resolve(),
  };
}

const NO_NETWORK = "it has no connection that could fail";

describeProvider("the sandbox", Object.keys(RECIPIENTS) as Situation[], startSandbox, {
  never: {
    is_unreachable: NO_NETWORK,
    breaks_off_after_accepting: NO_NETWORK,
    times_out_after_accepting: NO_NETWORK,
  },
});
