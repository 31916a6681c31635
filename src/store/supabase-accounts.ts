import type { AccountSettings, AccountStore, Credits, StoredAccount } from "./accounts.ts";
import type { Database } from "./database.ts";
import { utc } from "./times.ts";

const COLUMNS =
  "id, status, default_country, policy, limits, consent_declared, resend_unknown, created_at, credits (channel, balance, reserved, spent)";

interface AccountRow {
  id: string;
  status: AccountSettings["status"];
  default_country: string;
  policy: unknown;
  limits: unknown;
  consent_declared: boolean;
  resend_unknown: boolean;
  created_at: string;
  credits: Credits[];
}

/** Accounts on Supabase; shares the ledger's connection. */
export function createAccountStore(database: Database): AccountStore {
  const table = () => database.client.from("accounts");
  return {
    async read(id) {
      const query = table().select(COLUMNS).eq("id", id).maybeSingle<AccountRow>();
      const row = await database.run("accounts", query);
      return row ? toAccount(row) : undefined;
    },
    async put(id, settings) {
      const query = table()
        .upsert({ id, ...toRow(settings) })
        .select(COLUMNS)
        .single<AccountRow>();
      return toAccount(await database.run("accounts", query));
    },
    async change(id, settings) {
      const changes = toRow(settings);
      // PostgREST takes no change of nothing.
      if (Object.keys(changes).length === 0) return this.read(id);
      const query = table().update(changes).eq("id", id).select(COLUMNS).maybeSingle<AccountRow>();
      const row = await database.run("accounts", query);
      return row ? toAccount(row) : undefined;
    },
    addCredits: (id, channel, amount, idempotency) =>
      database.rpc("add_credits", {
        p_account_id: id,
        p_channel: channel,
        p_amount: amount,
        p_idempotency: idempotency ?? null,
      }),
  };
}

function toRow({
  status,
  defaultCountry,
  policy,
  limits,
  consentDeclared,
  resendUnknown,
}: Partial<AccountSettings>): object {
  const row = {
    status,
    default_country: defaultCountry,
    policy,
    limits,
    consent_declared: consentDeclared,
    resend_unknown: resendUnknown,
  };
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== undefined));
}

const toAccount = (row: AccountRow): StoredAccount => ({
  accountId: row.id,
  status: row.status,
  defaultCountry: row.default_country,
  policy: row.policy,
  limits: row.limits,
  consentDeclared: row.consent_declared,
  resendUnknown: row.resend_unknown,
  createdAt: utc(row.created_at),
  credits: row.credits.toSorted((a, b) => (a.channel < b.channel ? -1 : 1)),
});
