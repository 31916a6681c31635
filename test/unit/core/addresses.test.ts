import { describe, expect, test } from "vitest";
import { isPublicAddress, urlFault, urlFaults } from "../../../src/core/addresses.ts";

/** First and last address of each range that is never contacted, and the public neighbours outside of it. */
const IPV4_RANGES = [
  { range: "0.0.0.0/8", inside: ["0.0.0.0", "0.255.255.255"], outside: ["1.0.0.0"] },
  { range: "10.0.0.0/8", inside: ["10.0.0.0", "10.255.255.255"], outside: ["9.255.255.255", "11.0.0.0"] },
  { range: "100.64.0.0/10", inside: ["100.64.0.0", "100.127.255.255"], outside: ["100.63.255.255", "100.128.0.0"] },
  { range: "127.0.0.0/8", inside: ["127.0.0.0", "127.255.255.255"], outside: ["126.255.255.255", "128.0.0.0"] },
  { range: "168.63.129.16", inside: ["168.63.129.16"], outside: ["168.63.129.15", "168.63.129.17"] },
  {
    range: "169.254.0.0/16",
    inside: ["169.254.0.0", "169.254.169.254", "169.254.255.255"],
    outside: ["169.253.255.255", "169.255.0.0"],
  },
  { range: "172.16.0.0/12", inside: ["172.16.0.0", "172.31.255.255"], outside: ["172.15.255.255", "172.32.0.0"] },
  { range: "192.0.0.0/24", inside: ["192.0.0.0", "192.0.0.255"], outside: ["191.255.255.255", "192.0.1.0"] },
  { range: "192.0.2.0/24", inside: ["192.0.2.0", "192.0.2.255"], outside: ["192.0.1.255", "192.0.3.0"] },
  { range: "192.88.99.0/24", inside: ["192.88.99.0", "192.88.99.255"], outside: ["192.88.98.255", "192.88.100.0"] },
  { range: "192.168.0.0/16", inside: ["192.168.0.0", "192.168.255.255"], outside: ["192.167.255.255", "192.169.0.0"] },
  { range: "198.18.0.0/15", inside: ["198.18.0.0", "198.19.255.255"], outside: ["198.17.255.255", "198.20.0.0"] },
  { range: "198.51.100.0/24", inside: ["198.51.100.0", "198.51.100.255"], outside: ["198.51.99.255", "198.51.101.0"] },
  { range: "203.0.113.0/24", inside: ["203.0.113.0", "203.0.113.255"], outside: ["203.0.112.255", "203.0.114.0"] },
  { range: "224.0.0.0/4", inside: ["224.0.0.0", "239.255.255.255"], outside: ["223.255.255.255"] },
  { range: "240.0.0.0/4", inside: ["240.0.0.0", "255.255.255.255"], outside: [] },
];

/** The two last groups of an IPv6 address that carries this IPv4 one. */
function groupsOf(ipv4: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split(".").map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

describe("API7:2023 Server Side Request Forgery: addresses", () => {
  test.each(IPV4_RANGES)("$range is not public, what lies next to it is", ({ inside, outside }) => {
    expect(inside.filter(isPublicAddress)).toEqual([]);
    expect(outside.filter((address) => !isPublicAddress(address))).toEqual([]);
  });

  test.each(IPV4_RANGES)("$range stays refused, and only it, inside an IPv6 address", ({ inside, outside }) => {
    const spellings = (ipv4: string): string[] => [
      `::ffff:${ipv4}`,
      `::ffff:${groupsOf(ipv4)}`,
      `0:0:0:0:0:FFFF:${groupsOf(ipv4)}`,
      `64:ff9b::${ipv4}`,
      `64:ff9b::${groupsOf(ipv4)}`,
    ];
    expect(inside.flatMap(spellings).filter(isPublicAddress)).toEqual([]);
    expect(outside.flatMap(spellings).filter((address) => !isPublicAddress(address))).toEqual([]);
  });

  test.each([
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["0:0:0:0:0:0:0:1", "loopback"],
    ["::7f00:1", "IPv4-compatible"],
    ["::8.8.8.8", "IPv4-compatible"],
    ["::ffff:0:127.0.0.1", "IPv4-translated"],
    ["64:ff9b:1::a00:1", "a network's own NAT64"],
    ["100::1", "discard"],
    ["2001::1", "Teredo"],
    ["2001:0:7f00:1::", "Teredo of 127.0.0.1"],
    ["2001:0:808:808::f5ff:fffe", "Teredo, client 10.0.0.1"],
    ["2001:2::1", "benchmarking"],
    ["2001:10::1", "ORCHID"],
    ["2001:1ff:ffff::1", "protocol assignments, their end"],
    ["2001:db8::1", "documentation"],
    ["2002:7f00:1::", "6to4 of 127.0.0.1"],
    ["2002:a9fe:a9fe::1", "6to4 of 169.254.169.254"],
    ["2002:808:808::1", "6to4"],
    ["3fff::1", "documentation"],
    ["4000::1", "not given out"],
    ["5f00::1", "segment routing"],
    ["fc00::1", "unique local"],
    ["fd00:ec2::254", "metadata of AWS"],
    ["fdff:ffff::1", "unique local"],
    ["fe80::1", "link-local"],
    ["fe80::1%eth0", "link-local with a zone"],
    ["febf:ffff::1", "link-local"],
    ["fec0::1", "site-local"],
    ["ff02::1", "multicast"],
    ["2606:4700::1111%eth0", "a zone"],
  ])("%s is not public: %s", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  test.each(["2000::1", "2001:200::1", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1", "3ffe::1"])(
    "%s is public",
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );

  test.each(["", "localhost", "example.com", "127.1", "0177.0.0.1", "2130706433", "8.8.8", "[2000::1]", "8.8.8.8 "])(
    "%j is no address, and so not public",
    (text) => {
      expect(isPublicAddress(text)).toBe(false);
    },
  );
});

describe("API7:2023 Server Side Request Forgery: URLs at the edge", () => {
  test.each([
    "http://127.0.0.1/",
    "https://127.0.0.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1../",
    "http://127.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0/",
    "http://%31%32%37.0.0.1/",
    "http://１２７.0.0.1/",
    "http://127。0。0。1/",
    "http:127.0.0.1",
    "http:\\\\127.0.0.1\\file",
    " http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "http://10.0.0.5/",
    "http://0xa9fea9fe/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[2002:7f00:1::]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[ff02::1]/",
    "http://255.255.255.255/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://localhost../",
    "http://ⓛocalhost/",
    "http://media.localhost/",
    "http://a.b.localhost./",
  ])("%s points to a private network", (url) => {
    expect(urlFault(url)).toBe("The URL points to a private or reserved network, which is never contacted.");
  });

  test.each([
    "",
    "media",
    "/etc/passwd",
    "//example.com/a",
    "file:///etc/passwd",
    "ftp://example.com/a",
    "gopher://example.com/",
    "data:text/plain,a",
    "javascript:alert(1)",
    "ws://example.com/",
    "blob:https://example.com/a",
    "http://",
    "http://256.0.0.1/",
    "http://[fe80::1%25eth0]/",
  ])("%j is not an address that can be fetched", (url) => {
    expect(urlFault(url)).toBe("The URL is not an address that can be fetched; give an http:// or https:// URL.");
  });

  test.each(["https://user:pass@example.com/", "https://token@example.com/", "https://:pass@example.com/"])(
    "%s is refused for its credentials, which are not repeated",
    (url) => {
      const fault = urlFault(url);
      expect(fault).toMatch(/user name or a password/);
      expect(fault).not.toMatch(/user:|pass@|token/);
    },
  );

  test.each(["http://example.com:22/", "https://example.com:6379/", "http://example.com:0/"])(
    "the port of %s is not among those where files are served",
    (url) => {
      expect(urlFault(url)).toMatch(/names port \d+, which is not one of those allowed/);
    },
  );

  test.each([
    "http://example.com/a.jpg",
    "https://example.com/a.jpg?token=1#page",
    "HTTPS://EXAMPLE.COM:443/",
    "http://example.com:8080/",
    "https://example.com:8443/",
    "https://bücher.example/",
    "https://notlocalhost/",
    "https://localhost.example.com/",
    "http://8.8.8.8/",
    "http://[2606:4700::1111]/",
  ])("%s has no fault that shows at the edge", (url) => {
    expect(urlFault(url)).toBeUndefined();
  });

  test("a policy opens ports, but never port 0, which Node would take for 80", () => {
    expect(urlFault("http://example.com:9000/", { ports: [9000] })).toBeUndefined();
    expect(urlFault("http://example.com:80/", { ports: [9000] })).toMatch(/names port 80/);
    expect(urlFault("http://example.com:25/", { ports: "any" })).toBeUndefined();
    expect(urlFault("http://example.com:0/", { ports: "any" })).toMatch(/names port 0/);
  });

  test("a policy for development lets private addresses through, all of them or those that it names", () => {
    expect(urlFault("http://127.0.0.1/", { allowPrivate: true })).toBeUndefined();
    expect(urlFault("http://localhost/", { allowPrivate: true })).toBeUndefined();
    const onlyOne = { allowPrivate: (address: string, port: number) => address === "127.0.0.1" && port === 8080 };
    expect(urlFault("http://127.0.0.1:8080/", onlyOne)).toBeUndefined();
    expect(urlFault("http://127.0.0.1:8443/", onlyOne)).toMatch(/private/);
    expect(urlFault("http://127.0.0.2:8080/", onlyOne)).toMatch(/private/);
  });

  test("a policy for a developer's machine lets that through, at any port, and nothing else", () => {
    const own = { allowLoopback: true };
    for (const host of ["127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "app.localhost."]) {
      expect(urlFault(`http://${host}:3001/`, own)).toBeUndefined();
      expect(urlFault(`http://${host}:0/`, own)).toMatch(/port 0/);
    }
    for (const host of ["10.0.0.1", "169.254.169.254", "[fd00::1]", "0.0.0.0"])
      expect(urlFault(`http://${host}/`, own)).toMatch(/private/);
    expect(urlFault("http://example.com:3001/", own)).toMatch(/port 3001/);
  });

  test("several faults → are told at once, one sentence each", () => {
    expect(urlFaults("http://user@10.0.0.1:25/")).toEqual([
      expect.stringContaining("user name"),
      expect.stringContaining("allowed: 80, 443, 8080, and 8443."),
      expect.stringContaining("private"),
    ]);
  });
});
