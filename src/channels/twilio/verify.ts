import { verifyByAsking } from "../providers/verify.ts";

interface TwilioAccount {
  TWILIO_ACCOUNT_SID?: string | undefined;
  TWILIO_AUTH_TOKEN?: string | undefined;
  TWILIO_API_BASE_URL: string;
}

/** Reads the account itself: https://www.twilio.com/docs/iam/api/account */
export function verifyAccount(values: TwilioAccount): Promise<string | undefined> {
  const { TWILIO_ACCOUNT_SID: sid = "", TWILIO_AUTH_TOKEN: password = "", TWILIO_API_BASE_URL: base } = values;
  const url = `${base.replace(/\/+$/, "")}/2010-04-01/Accounts/${sid}.json`;
  return verifyByAsking({ url, user: sid, password }, (body) => {
    const { status } = (body ?? {}) as { status?: unknown };
    if (status === "active") return undefined;
    return `takes the credentials, but the account is ${typeof status === "string" ? status : "not known"}`;
  });
}
