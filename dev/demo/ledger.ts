import pg from "pg";

/** Enough for every contact of examples/hunt.json, and for two fewer than it has to call. */
const CREDITS = { whatsapp_text: 100, sms: 100, ringless_voice: 18 };

/** Of the hunt's contacts, one told this account not to write again, and one does not want to hear from anybody. */
const SUPPRESSED_BY_ACCOUNT = "+33639980042";
const SUPPRESSED_BY_ALL = "+33639980043";

/** Somebody's answer to a message of the hunt. */
export interface Reply {
  adId: string;
  text: string;
  /** It was a wish to be left alone, and is kept. */
  suppressed: boolean;
}

/** The demo's own look into the database, beside the API. Close it with `await using`. */
export interface Ledger extends AsyncDisposable {
  /** Puts in what the web app would have: the account, its credits, whom it must not contact. */
  seed(accountId: string): Promise<void>;
  replies(accountId: string): Promise<Reply[]>;
}

export async function openLedger(databaseUrl: string): Promise<Ledger> {
  const client = new pg.Client({ connectionString: databaseUrl });
  // A database that goes away shows at the next query.
  client.on("error", () => {});
  await client.connect();
  return {
    async seed(accountId) {
      await client.query("insert into accounts (id) values ($1)", [accountId]);
      for (const [channel, balance] of Object.entries(CREDITS)) {
        const insert = "insert into credits (account_id, channel, balance) values ($1, $2, $3)";
        await client.query(insert, [accountId, channel, balance]);
      }
      const insert = "insert into suppressions (account_id, phone) values ($1, $2), (null, $3)";
      await client.query(insert, [accountId, SUPPRESSED_BY_ACCOUNT, SUPPRESSED_BY_ALL]);
    },
    async replies(accountId) {
      const { rows } = await client.query<Reply>(
        `select m.ad_id as "adId", r.text, exists (
           select 1 from suppressions s where s.message_id = m.id and s.phone = r.phone
         ) as suppressed
         from replies r join messages m on m.id = r.message_id
         where r.account_id = $1 order by r.id`,
        [accountId],
      );
      return rows;
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
