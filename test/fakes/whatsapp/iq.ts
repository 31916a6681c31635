import { type BinaryNode, QueryIds, getBinaryNodeChildren } from "@whiskeysockets/baileys";
import { bytesOf, e164, el, find, iqResult, nowInSeconds, phoneOfJid, unsigned } from "./nodes.ts";
import type { FakeMedia } from "./media.ts";
import type { Account, World } from "./world.ts";

interface Asked {
  world: World;
  account: Account;
  media: FakeMedia;
  iq: BinaryNode;
}

/** The children of the answer; undefined for a plain result. */
type Answer = (asked: Asked) => BinaryNode[] | undefined;

const done: Answer = () => undefined;

/** By `xmlns`, and where one has several meanings by the first child: `xmlns > tag`. */
const ANSWERS: Record<string, Answer> = {
  "encrypt > count": ({ account }) => [el("count", { value: String(account.companion?.preKeys.length ?? 0) })],
  "encrypt > digest": () => [el("digest")],
  "encrypt > key": ({ world, iq }) => [el("list", {}, keyBundles(world, find(iq, "key")))],
  "encrypt > rotate": ({ account, iq }) => rotateSignedKey(account, find(iq, "rotate", "skey")),
  "encrypt > registration": storeKeys,
  usync: ({ world, iq }) => [el("usync", {}, [el("list", {}, usersOf(world, iq))])],
  abt: () => [el("props", { hash: "fake" })],
  blocklist: () => [el("list")],
  "privacy > privacy": ({ iq }) => (iq.attrs["type"] === "get" ? [privacy()] : undefined),
  "privacy > tokens": done,
  "w:m": ({ media }) => [
    el("media_conn", { auth: "fake-auth", ttl: "3600" }, [el("host", { hostname: media.host, type: "primary" })]),
  ],
  "w:mex": ({ account, iq }) => [el("result", {}, Buffer.from(JSON.stringify(graphQl(account, iq))))],
  "w:sync:app:state": ({ iq }) => [el("sync", {}, collections(iq))],
  "w:profile:picture": () => [el("picture")],
  passive: done,
  "w:p": done,
  "w:stats": done,
  "urn:xmpp:whatsapp:dirty": done,
  status: done,
  disappearing_mode: done,
};

/** Answers a query of a device that is logged in; what is not in the table gets an empty result and is noted. */
export function answerIq(asked: Asked): BinaryNode {
  const { attrs, content } = asked.iq;
  const xmlns = attrs["xmlns"] ?? "";
  const refusal = asked.account.refusals.get(xmlns);
  if (refusal !== undefined) return iqResult(attrs["id"], undefined, refusal);
  const first = Array.isArray(content) ? content[0]?.tag : undefined;
  const answer = ANSWERS[`${xmlns} > ${first}`] ?? ANSWERS[xmlns];
  if (answer === undefined) asked.world.unknownIqs.push(`${xmlns} > ${first}`);
  return iqResult(attrs["id"], answer?.(asked));
}

function keyBundles(world: World, key: BinaryNode | undefined): BinaryNode[] {
  return getBinaryNodeChildren(key, "user").flatMap(({ attrs: { jid = "" } }) => {
    const person = world.personOf(jid);
    return person === undefined ? [] : [person.keyBundle(jid)];
  });
}

function storeKeys({ account, iq }: Asked): undefined {
  const { companion } = account;
  if (companion === undefined) return undefined;
  for (const key of getBinaryNodeChildren(find(iq, "list"), "key")) {
    companion.preKeys.push({ id: unsigned(bytesOf(key, "id")), key: bytesOf(key, "value") });
  }
  return rotateSignedKey(account, find(iq, "skey"));
}

function rotateSignedKey({ companion }: Account, skey: BinaryNode | undefined): undefined {
  if (companion === undefined) return undefined;
  const [id, key, signature] = [bytesOf(skey, "id"), bytesOf(skey, "value"), bytesOf(skey, "signature")];
  companion.keys.signedPreKey = { id: unsigned(id), key, signature };
}

/** Each user with what was asked for: whether they exist, their LID, their devices. */
function usersOf(world: World, iq: BinaryNode): BinaryNode[] {
  const usync = find(iq, "usync");
  const asks = (protocol: string) => find(usync, "query", protocol) !== undefined;
  return getBinaryNodeChildren(find(usync, "list"), "user").map((user) => {
    const contact = find(user, "contact")?.content;
    const asked = contact === undefined ? undefined : e164(Buffer.from(contact as Uint8Array | string).toString());
    const phone = asked && (world.aliases.get(asked) ?? asked);
    const jid = phone === undefined ? (user.attrs["jid"] ?? "") : `${phone.slice(1)}@s.whatsapp.net`;
    const person = world.personOf(jid);
    const byPhone = phoneOfJid(jid) !== undefined;
    const content: BinaryNode[] = [];
    if (asks("contact")) content.push(el("contact", { type: person === undefined ? "out" : "in" }));
    if (asks("lid") && person && byPhone) content.push(el("lid", { val: person.lid }));
    if (asks("devices") && person) content.push(el("devices", {}, [deviceList(world, person.phone)]));
    return el("user", { jid }, content);
  });
}

/** The phone itself and, of an account of ours, the linked device, which only counts with a `key-index`. */
function deviceList(world: World, phone: string): BinaryNode {
  const linked = world.accounts.get(phone)?.companion;
  const devices = [el("device", { id: "0" })];
  if (linked !== undefined)
    devices.push(el("device", { id: String(linked.device), "key-index": String(linked.device) }));
  return el("device-list", {}, devices);
}

function privacy(): BinaryNode {
  const names = ["readreceipts", "profile", "status", "online", "last", "groupadd", "calladd", "messages"];
  return el(
    "privacy",
    {},
    names.map((name) => el("category", { name, value: "all" })),
  );
}

function graphQl({ restriction }: Account, iq: BinaryNode): object {
  const query: string | undefined = find(iq, "query")?.attrs["query_id"];
  if (query === QueryIds.REACHOUT_TIMELOCK)
    return { data: { xwa2_fetch_account_reachout_timelock: timelock(restriction) } };
  if (query === QueryIds.MESSAGE_CAPPING_INFO) return { data: { xwa2_message_capping_info: {} } };
  return { data: {} };
}

/** A restriction in the words of the GraphQL answer and of its notification. */
export function timelock(restriction: Account["restriction"]): object {
  if (restriction === undefined) return { is_active: false };
  const { enforcementType, until } = restriction;
  const ends = until && String(Math.floor(until.getTime() / 1000));
  return { is_active: true, enforcement_type: enforcementType, time_enforcement_ends: ends };
}

/** Nothing has ever happened in these collections. */
function collections(iq: BinaryNode): BinaryNode[] {
  return getBinaryNodeChildren(find(iq, "sync"), "collection").map(({ attrs }) =>
    el("collection", { name: attrs["name"], version: attrs["version"], t: nowInSeconds() }),
  );
}
