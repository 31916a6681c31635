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
