import type { CountryCode } from "libphonenumber-js";
import { parsePhone } from "../core/phone.ts";
import { invalidRequest } from "../core/problem.ts";
import { refusalOf } from "../core/refusals.ts";
import type { StopNoticeOf } from "../core/rules.ts";
import type { Store } from "../store/store.ts";
import type { ChannelRouteDeps, ContentTerms } from "./channel.ts";

interface TermsDeps {
  store: Pick<Store, "account">;
  stopNoticeOf: StopNoticeOf;
}

const DEFAULT_COUNTRY = "FR";

/** On what terms a marketing message would be written, for whoever only wants to see it. */
export function createTermsOf({ store, stopNoticeOf }: TermsDeps) {
  return async (
    { accountId, recipientPhone, senderPhone: sender }: Parameters<ChannelRouteDeps["termsOf"]>[0],
    oneWay: boolean,
  ): Promise<ContentTerms> => {
    const account = accountId === undefined ? undefined : await store.account(accountId);
    if (accountId !== undefined && !account) throw refusalOf("unknown_account", "/accountId");
    let country = (account?.defaultCountry ?? DEFAULT_COUNTRY) as CountryCode;
    if (recipientPhone !== undefined) {
      const recipient = parsePhone(recipientPhone, country);
      if (!recipient.ok) throw invalidRequest([{ pointer: "/recipientPhone", detail: recipient.detail }]);
      country = recipient.country;
    }
    return { country, sender, oneWay, stopNotice: stopNoticeOf(account?.policy, country) };
  };
}
