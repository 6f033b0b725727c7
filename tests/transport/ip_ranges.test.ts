/** Which range an address lies in. */
import { BlockList } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "../../actors/runtime/random.ts";
import {
  type Cidr,
  isLoopbackAddress,
  networkOfIp6,
  plainAddress,
  rangeFinder,
  readCidr,
} from "../../transport/ip_ranges.ts";

const test = suite("readCidr() and rangeFinder()");
const inside: [host: string, range: string, expected: boolean][] = [
  ["10.255.255.255", "10.0.0.0/8", true],
  ["11.0.0.0", "10.0.0.0/8", false],
  ["172.31.255.255", "172.16.0.0/12", true],
  ["172.32.0.0", "172.16.0.0/12", false],
  ["192.0.2.1", "192.0.2.1/32", true],
  ["192.0.2.2", "192.0.2.1/32", false],
  ["203.0.113.9", "0.0.0.0/0", true],
  ["::1", "::1/128", true],
  ["::2", "::1/128", false],
  ["fdff::1", "fc00::/7", true],
  ["fe00::1", "fc00::/7", false],
  ["::ffff:10.1.2.3", "10.0.0.0/8", true],
  ["::ffff:11.1.2.3", "10.0.0.0/8", false],
  ["::ffff:a01:203", "10.1.2.0/24", true],
  ["0:0:0:0:0:ffff:10.1.2.3", "10.1.2.3/32", true],
  ["10.1.2.3", "::ffff:10.0.0.0/104", true],
  ["11.1.2.3", "::ffff:10.0.0.0/104", false],
  ["10.1.2.3", "::/0", true],
  ["::a01:203", "10.1.2.0/24", false],
  ["fe80::1%eth0", "fe80::/10", true],
  ["febf::1", "fe80::/10", true],
  ["fec0::1", "fe80::/10", false],
  ["2001:db8:0:1::", "2001:db8:0:1::/65", true],
  ["2001:db8:0:1:8000::", "2001:db8:0:1::/65", false],
  ["::ffff:1.2.3.4", "127.0.0.0/8", false],
  ["localhost", "127.0.0.0/8", false],
  ["1.2.3", "0.0.0.0/0", false],
  ["", "::/0", false],
];
for (const [host, range, expected] of inside) {
  test(`${host} lies ${expected ? "in" : "out"}side ${range}`, () => {
    assert.is(rangeFinder([readCidr(range) as Cidr])(host)?.text, expected ? range : undefined);
  });
}
for (
  const text of [
    "10.0.0.0",
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/",
    "x/8",
    "10.0.0.0/ 8",
    "fe80::%eth0/10",
  ]
) {
  test(`refuses ${text}`, () => assert.type(readCidr(text), "string"));
}

/** The runtime's own list agrees on every pair that it takes. */
test("agrees with the runtime's own lists of ranges", () => {
  const random = seededRandom(20_261_126);
  const word = () => Math.floor(random() * 65_536).toString(16);
  const dotted = () => Array.from({ length: 4 }, () => Math.floor(random() * 256)).join(".");
  const six = () => random() < 0.3 ? `${word()}::${word()}` : Array.from({ length: 8 }, word).join(":");
  for (let round = 0; round < 3_000; round++) {
    const family = random() < 0.5 ? 4 : 6;
    const host = family === 4 ? dotted() : six();
    const network = random() < 0.5 ? host : family === 4 ? dotted() : six();
    const prefix = Math.floor(random() * (family === 4 ? 33 : 129));
    const list = new BlockList();
    list.addSubnet(network, prefix, `ipv${family}`);
    const found = rangeFinder([readCidr(`${network}/${prefix}`) as Cidr])(host) !== undefined;
    assert.is(found, list.check(host, `ipv${family}`), `${host} in ${network}/${prefix}`);
  }
});

test("finds the first of several ranges", () => {
  const finder = rangeFinder(["10.1.0.0/16", "10.0.0.0/8"].map((text) => readCidr(text) as Cidr));
  assert.equal(["10.1.2.3", "10.2.2.3", "11.0.0.1"].map((host) => finder(host)?.text), [
    "10.1.0.0/16",
    "10.0.0.0/8",
    undefined,
  ]);
});

const plain: [host: string, expected: string, network: string | undefined][] = [
  ["::ffff:10.1.2.3", "10.1.2.3", "0:0:0:0::/64"],
  ["::FFFF:a01:203", "10.1.2.3", "0:0:0:0::/64"],
  ["fe80::1%eth0", "fe80::1", "fe80:0:0:0::/64"],
  ["10.1.2.3", "10.1.2.3", undefined],
  ["2001:DB8::1", "2001:DB8::1", "2001:db8:0:0::/64"],
  ["a.example", "a.example", undefined],
  ["", "", undefined],
];
for (const [host, expected, network] of plain) {
  test(`${host || "nothing"} is the address ${expected || "of nothing"}, in ${network ?? "no network"}`, () => {
    assert.equal([plainAddress(host), networkOfIp6(host)], [expected, network]);
  });
}

test("loopback is what other machines do not reach", () => {
  const hosts = [
    "127.0.0.1",
    "127.255.255.255",
    "::1",
    "::ffff:127.0.0.1",
    "128.0.0.1",
    "::2",
    "127.example",
    "0.0.0.0",
  ];
  assert.equal(hosts.map(isLoopbackAddress), [true, true, true, true, false, false, false, false]);
});

test.run();
