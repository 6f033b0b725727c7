import { suite } from "uvu";
import * as assert from "uvu/assert";
import { excludeCidrDefault } from "../../actors/config/defaults.ts";
import { joinedAddresses } from "../../actors/enrolment/joined_config.ts";

const test = suite("joinedAddresses()");
const known = { resolved: [], excluded: excludeCidrDefault } as const;
const without = (...texts: readonly string[]) => excludeCidrDefault.filter((range) => !texts.includes(range));

test("a worker takes any port and the CA's gateways, and excludes no range that one lies in", () => {
  const gateways = ["/ip4/10.1.2.3/tcp/4001", "/dns4/gw.acme.example/tcp/4001"];
  assert.equal(joinedAddresses({ role: "worker", gateways, ...known, resolved: ["192.168.7.7", "2001:db8::1"] }), {
    listen_addresses: ["/ip4/0.0.0.0/tcp/0"],
    gateway_addresses: gateways,
    exclude_cidr: without("10.0.0.0/8", "192.168.0.0/16"),
  });
});

test("an address that a node cannot dial is left out", () => {
  const gateways = ["/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/tcp/4001", "gw:4001", "/ip4/0.0.0.0/udp/4001/quic-v1"];
  const { gateway_addresses } = joinedAddresses({ role: "data", gateways, ...known });
  assert.equal(gateway_addresses, ["/ip4/192.0.2.1/tcp/4001"]);
});

const gateways: [name: string, gateways: readonly string[], listen: string, external: readonly string[] | undefined][] =
  [
    [
      "the only gateway listens on the port that it announces",
      ["/dns4/gw.acme.example/tcp/443"],
      "/ip4/0.0.0.0/tcp/443",
      ["/dns4/gw.acme.example/tcp/443"],
    ],
    ["one with an IPv6 address listens on such", ["/ip6/::1/tcp/5"], "/ip6/::/tcp/5", ["/ip6/::1/tcp/5"]],
    [
      "which of two it is, the operator says",
      ["/ip4/192.0.2.1/tcp/5", "/ip4/192.0.2.2/tcp/5"],
      "/ip4/0.0.0.0/tcp/4001",
      undefined,
    ],
    ["without any it listens where gateways do", [], "/ip4/0.0.0.0/tcp/4001", undefined],
  ];
for (const [name, addresses, listen, external] of gateways) {
  test(name, () => {
    const made = joinedAddresses({ role: "gateway", gateways: addresses, ...known });
    assert.equal(made.listen_addresses, [listen]);
    assert.equal(made.external_addresses, external);
    assert.not("gateway_addresses" in made);
  });
}

test("a gateway that the CA knows by its name takes that address, of several and of one", () => {
  const addresses = ["/ip4/192.0.2.1/tcp/5", "/ip4/192.0.2.2/tcp/6"];
  const made = joinedAddresses({ role: "gateway", gateways: addresses, own: addresses[1], ...known });
  assert.equal([made.listen_addresses, made.external_addresses], [["/ip4/0.0.0.0/tcp/6"], ["/ip4/192.0.2.2/tcp/6"]]);
  const odd = joinedAddresses({ role: "gateway", gateways: addresses, own: "gw:4001", ...known });
  assert.equal(odd.external_addresses, undefined);
});

test("a gateway on loopback keeps loopback", () => {
  const made = joinedAddresses({ role: "gateway", gateways: ["/ip4/127.0.0.1/tcp/4001"], ...known });
  assert.equal(made.exclude_cidr, without("127.0.0.0/8"));
});

test.run();
