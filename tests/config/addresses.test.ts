/** Addresses and ranges: what each use allows, both sides of each boundary. */
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addressCharactersMax, type AddressUse, canonicalAddress, readAddress } from "../../actors/config/addresses.ts";

const peer = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const relayed = `/ip4/192.0.2.1/tcp/4001/p2p/${peer}/p2p-circuit/p2p/${peer}`;

const test = suite("readAddress()");

const accepted: [text: string, uses: AddressUse[]][] = [
  ["/ip4/0.0.0.0/tcp/4001", ["listen", "gateway", "dial"]],
  ["/ip6/::/tcp/1", ["listen", "gateway", "dial"]],
  ["/ip6/::1/tcp/1", ["listen", "external", "gateway", "dial"]],
  ["/ip4/127.0.0.1/tcp/0", ["listen"]],
  ["/ip4/192.0.2.1/tcp/65535", ["listen", "external", "gateway", "dial"]],
  ["/dns4/gw.example/tcp/4001", ["external", "gateway", "dial"]],
  ["/dns6/a-b.c_d.example/tcp/1/", ["external", "gateway", "dial"]],
  [`/ip4/192.0.2.1/tcp/4001/p2p/${peer}`, ["external", "gateway", "dial"]],
  [relayed, ["dial"]],
  ["/ip4/192.0.2.1/tcp/65536", []],
  ["/ip4/192.0.2.1/tcp/-1", []],
  ["/ip4/192.0.2.1/tcp/1e3", []],
  ["/ip4/192.0.2.1/tcp", []],
  ["/ip4/192.0.2.256/tcp/1", []],
  ["/ip4/::1/tcp/1", []],
  ["/ip6/fe80::1%eth0/tcp/1", []],
  ["/dns4/-a.example/tcp/1", []],
  [`/dns4/${"a".repeat(64)}.example/tcp/1`, []],
  ["/ip4/192.0.2.1/udp/4001/quic-v1", []],
  ["/ip4/192.0.2.1/tcp/4001/ws", []],
  ["/ip4/192.0.2.1/tcp/4001/p2p/", []],
  ["/ip4/192.0.2.1/tcp/4001/p2p/QmX", []],
  [`/p2p/${peer}`, []],
  ["/__proto__/x/tcp/1", []],
  ["192.0.2.1:4001", []],
  ["", []],
  [`/dns4/${"a.".repeat(addressCharactersMax)}a/tcp/1`, []],
];
for (const [text, uses] of accepted) {
  for (const use of ["listen", "external", "gateway", "dial"] as const) {
    const allowed = uses.includes(use);
    test(`${allowed ? "accepts" : "refuses"} ${text.slice(0, 60) || "nothing"} to ${use}`, () => {
      assert.is(typeof readAddress(text, use), allowed ? "object" : "string");
    });
  }
}

const meant: [text: string, perhaps: string][] = [
  ["192.0.2.1:4001", ", perhaps /ip4/192.0.2.1/tcp/4001"],
  ["gw.example:4001", ", perhaps /dns4/gw.example/tcp/4001"],
  ["https://gw.example:443/", ", perhaps /dns4/gw.example/tcp/443"],
  ["[2001:db8::1]:1", ", perhaps /ip6/2001:db8::1/tcp/1"],
  ["gw.example", ""],
  ["a b:1", ""],
];
for (const [text, perhaps] of meant) {
  test(`says what ${text} was meant to be`, () => {
    assert.is(readAddress(text, "gateway"), `does not begin with /${perhaps}`);
  });
}

test("gives an address's parts", () => {
  const [hostProtocol, host, port] = ["dns4", "gw.example", 4001];
  assert.equal(readAddress(`/dns4/gw.example/tcp/4001/p2p/${peer}`, "gateway"), { hostProtocol, host, port, peer });
});
test("bug: a port with leading zeros was read as a port here, and threw where the address was used", () => {
  for (const port of ["04001", "00"]) {
    assert.is(readAddress(`/ip4/192.0.2.1/tcp/${port}`, "listen"), "has leading zeros in its port");
  }
});

test("an address has one canonical text, whatever its spelling", () => {
  const spellings = [
    ["/ip6/2001:DB8:0:0::1/tcp/4001", "/ip6/2001:db8::1/tcp/4001"],
    ["/ip4/192.0.2.1/tcp/4001/", "/ip4/192.0.2.1/tcp/4001"],
    ["/ip6/1:0:0:2:0:0:0:3/tcp/1", "/ip6/1:0:0:2::3/tcp/1"],
    ["/ip6/0:0:0:0:0:FFFF:192.0.2.1/tcp/1", "/ip6/::ffff:c000:201/tcp/1"],
    [`/dns4/GW.example/tcp/4001/p2p/${peer}/`, `/dns4/GW.example/tcp/4001/p2p/${peer}`],
  ] as const;
  for (const [text, canonical] of spellings) {
    assert.equal([canonicalAddress(text), multiaddr(text).toString()], [canonical, canonical]);
  }
});
test.run();
