import type { LookupAddress } from "node:dns";
import { BlockList, isIP } from "node:net";

/**
 * IPv4 that no public server has: the IANA special-purpose registry (RFC 6890) where "globally reachable" is false,
 * multicast, and 168.63.129.16, at which Azure serves its guests although the number looks public. The metadata
 * addresses of the other clouds lie inside these ranges.
 */
const REFUSED_IPV4: [network: string, prefix: number][] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["168.63.129.16", 32],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
];

/** Where an IPv6 address carries an IPv4 one in its last 32 bits, by which it is judged: mapped, and NAT64 (RFC 6052). */
const CARRIES_IPV4 = ["::ffff:", "64:ff9b::"];

/**
 * Refused out of 2000::/3, the only IPv6 that is given out: protocol assignments with Teredo (2001::/23), 6to4 (2002::/16)
 * and both ranges for documentation. Teredo and 6to4 are refused whole: what they embed may be private, and both are dead.
 */
const REFUSED_IPV6: [network: string, prefix: number][] = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
];

const loopback = blockList([["127.0.0.0", 8]], "ipv4");
loopback.addAddress("::1", "ipv6");
const given = blockList([["2000::", 3], ...CARRIES_IPV4.map((start): [string, number] => [`${start}0:0`, 96])], "ipv6");
const refusedIpv4 = blockList(REFUSED_IPV4, "ipv4");
const refusedIpv6 = blockList(
  [
    ...REFUSED_IPV6,
    ...CARRIES_IPV4.flatMap((start) =>
      REFUSED_IPV4.map(([network, prefix]): [string, number] => [start + network, 96 + prefix]),
    ),
  ],
  "ipv6",
);

function blockList(ranges: [network: string, prefix: number][], family: "ipv4" | "ipv6"): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of ranges) list.addSubnet(network, prefix, family);
  return list;
}

/**
 * Whether an address, as a resolver gives it, is one of the public internet. IPv4 is public unless it is reserved; of
 * IPv6 only what has been given out is, so that a range reserved later is not let through. Text that is no address, or
 * an address with a zone (`fe80::1%eth0`), is not public.
 *
 * It cannot know a network's own NAT64 prefix (RFC 6052, 2.2), nor a public address behind which something private is.
 */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !refusedIpv4.check(address, "ipv4");
    case 6:
      return !address.includes("%") && given.check(address, "ipv6") && !refusedIpv6.check(address, "ipv6");
    default:
      return false;
  }
}

/** Which servers may be contacted; given by the configuration, the same for every caller. */
export interface FetchPolicy {
  /**
   * For tests and development: lets all private addresses through, cloud metadata as well, or those that the function
   * accepts. Default: false.
   */
  allowPrivate?: boolean | ((address: string, port: number) => boolean) | undefined;
  /** For development: lets addresses of this machine through, those that a URL names on any port. Default: false. */
  allowLoopback?: boolean | undefined;
  /**
   * Default: 80, 443, 8080 and 8443, where files are served. On others a caller could have us probe mail servers and
   * databases of third parties.
   */
  ports?: readonly number[] | "any" | undefined;
  /** All addresses of a name, asked once a hop. Default: the system's resolver. */
  lookup?: ((hostname: string) => Promise<readonly LookupAddress[]>) | undefined;
}

interface Refusal {
  code: "bad_url" | "not_allowed";
  detail: string;
}

const PORTS: readonly number[] = [80, 443, 8080, 8443];
const LIST = new Intl.ListFormat("en", { type: "conjunction" });

/** The same for a private address, a private name and what a name resolves to: nobody learns what exists inside. */
export const PRIVATE = "points to a private or reserved network, which is never contacted";
export const UNFETCHABLE = "is not an address that can be fetched; give an http:// or https:// URL";

/**
 * What is wrong with a URL, as sentences for people, or undefined: what can be told without asking a resolver. For the
 * edge; a URL without a fault here may still be refused when it is fetched.
 */
export function urlFault(url: string, policy: FetchPolicy = {}): string | undefined {
  return urlFaults(url, policy).join(" ") || undefined;
}

/** The same, one sentence a fault. */
export function urlFaults(url: string, policy: FetchPolicy = {}): string[] {
  const target = URL.parse(url);
  const details = target === null ? [UNFETCHABLE] : refusalsOf(target, policy).map(({ detail }) => detail);
  return details.map((detail) => `The URL ${detail}.`);
}

/** The first thing that is wrong with a URL before a resolver is asked; `detail` goes after "The URL". */
export function refusalOf(target: URL, policy: FetchPolicy): Refusal | undefined {
  return refusalsOf(target, policy)[0];
}

function refusalsOf(target: URL, policy: FetchPolicy): Refusal[] {
  const { allowPrivate = false, allowLoopback = false, ports = PORTS } = policy;
  if (target.protocol !== "http:" && target.protocol !== "https:") return [{ code: "bad_url", detail: UNFETCHABLE }];
  const refusals: Refusal[] = [];
  if (target.username !== "" || target.password !== "") {
    const detail = "holds a user name or a password, which is not sent on; give one without";
    refusals.push({ code: "bad_url", detail });
  }
  const port = portOf(target);
  const isOurs = allowLoopback && namesLoopback(target);
  // Node takes port 0 for 80: another than the one that was checked.
  if (port === 0 || (ports !== "any" && !isOurs && !ports.includes(port))) {
    const allowed = ports === "any" ? "1 to 65535" : LIST.format(ports.map(String));
    refusals.push({ code: "not_allowed", detail: `names port ${port}, which is not one of those allowed: ${allowed}` });
  }
  const name = nameOf(target);
  const isPrivate =
    isIP(name) === 0 ? isLocalName(name) && allowPrivate === false && !isOurs : !permitted(name, port, policy);
  if (isPrivate) refusals.push({ code: "not_allowed", detail: PRIVATE });
  return refusals;
}

/** Whether a URL names this machine itself, whatever the policy. */
export function namesLoopback(target: URL): boolean {
  const name = nameOf(target);
  return isIP(name) === 0 ? isLocalName(name) : isLoopback(name);
}

/** `URL` has brought every spelling of an IPv4 address to its dotted form, but leaves the last dots of a name. */
function nameOf(target: URL): string {
  const labels = target.hostname.split(".").filter((label) => label !== "");
  return labels.join(".").replace(/^\[(.*)\]$/, "$1");
}

/** RFC 6761, 6.3. */
const isLocalName = (name: string): boolean => name === "localhost" || name.endsWith(".localhost");

const isLoopback = (address: string): boolean => loopback.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");

export function portOf(target: URL): number {
  if (target.port !== "") return Number(target.port);
  return target.protocol === "https:" ? 443 : 80;
}

/** Whether this address may be connected to. */
export function permitted(
  address: string,
  port: number,
  { allowPrivate = false, allowLoopback = false }: FetchPolicy,
): boolean {
  if (isPublicAddress(address) || (allowLoopback && isLoopback(address))) return true;
  return typeof allowPrivate === "function" ? allowPrivate(address, port) : allowPrivate;
}
