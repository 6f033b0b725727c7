/** Addresses that the operator configured are used inside `exclude_cidr` too; those that others announce are not. */
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addressRules } from "../../../transport/core/address_filter.ts";
import { makeTestPki } from "../../support/pki.ts";
import { freePort } from "../../../scripts/program/free_ports.ts";
import { of, startTransport } from "../../support/transports.ts";

const everything = ["0.0.0.0/0", "::/0"];
const gatewayPeer = "12D3KooWCdeFXToKJSgotLQahnWW5Ab6MtrzGkE3LskCRrhFjFT5";
const other = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

const test = suite("addressRules()");

const input = {
  excludeCidr: ["10.0.0.0/8"],
  listenAddresses: ["/ip4/10.0.0.2/tcp/0"],
  externalAddresses: ["/ip4/10.9.9.9/tcp/4002"],
  gatewayAddresses: ["/ip4/10.0.0.1/tcp/4001"],
  relay: "client",
} as const;
const rules = addressRules(input, (peer) => peer === gatewayPeer);

const dialled: [address: string, allowed: boolean][] = [
  ["/ip4/192.0.2.1/tcp/1", true],
  ["/ip4/10.0.0.1/tcp/4001", true],
  [`/ip4/10.0.0.1/tcp/4001/p2p/${gatewayPeer}`, true],
  ["/ip4/10.0.0.1/tcp/4003", false],
  ["/ip4/10.0.0.3/tcp/4001", false],
  [`/ip4/10.0.0.1/tcp/4001/p2p/${gatewayPeer}/p2p-circuit/p2p/${other}`, true],
  [`/ip4/10.5.5.5/tcp/9/p2p/${gatewayPeer}/p2p-circuit/p2p/${other}`, true],
  [`/ip4/10.5.5.5/tcp/9/p2p/${other}/p2p-circuit/p2p/${gatewayPeer}`, false],
];
for (const [address, allowed] of dialled) {
  test(`${allowed ? "dials" : "does not dial"} ${address}`, () =>
    assert.is(rules.mayDial(multiaddr(address)), allowed));
}

test("remembers every address of a configured gateway, and of others those that may be dialled", () => {
  const inside = multiaddr("/ip4/10.7.7.7/tcp/1");
  assert.is(rules.mayKnow(gatewayPeer, inside), true);
  assert.is(rules.mayKnow(other, inside), false);
  assert.is(rules.mayDial(inside), false);
});

test("announces what is configured, outside, or relayed by a gateway", () => {
  const own = [
    "/ip4/10.0.0.2/tcp/33333",
    "/ip4/10.0.0.5/tcp/33333",
    "/ip4/10.9.9.9/tcp/4002",
    "/ip4/192.0.2.1/tcp/33333",
    `/ip4/10.5.5.5/tcp/9/p2p/${gatewayPeer}/p2p-circuit`,
    `/ip4/10.5.5.5/tcp/9/p2p/${other}/p2p-circuit`,
  ];
  assert.equal(rules.announced(own.map((text) => multiaddr(text))).map(String), [own[0], own[2], own[3], own[4]]);
});

test("announces all that it listens on where it would announce nothing, unless it waits for a relay", () => {
  const own = [multiaddr("/ip4/127.0.0.1/tcp/1"), multiaddr("/ip4/10.0.0.5/tcp/1")];
  const bare = { ...input, listenAddresses: ["/ip4/0.0.0.0/tcp/1"], excludeCidr: everything };
  const announced = (relay: "server" | "client" | "off") =>
    addressRules({ ...bare, relay }, () => false).announced(own);
  assert.equal([announced("server"), announced("off"), announced("client")], [own, own, []]);
});

test("nodes on a network that is excluded as a whole find and reach each other through their gateway", async () => {
  const pki = await makeTestPki();
  const port = await freePort();
  const gateway = await startTransport({
    pki,
    name: "gateway",
    role: "gateway",
    relay: "server",
    listenAddresses: [`/ip4/0.0.0.0/tcp/${port}`],
    excludeCidr: everything,
  });
  assert.ok(gateway.addresses.some((address) => address.includes(`/tcp/${port}/`)), "it announces where it listens");
  const address = `/ip4/127.0.0.1/tcp/${port}`;
  const joining = { pki, relay: "client", gatewayAddresses: [address], excludeCidr: everything } as const;
  const join = async (name: string) => {
    const node = await startTransport({ ...joining, name, listenAddresses: ["/ip4/0.0.0.0/tcp/0"] });
    assert.equal(node.addresses, [], "it waits for its relay");
    assert.is((await node.ask({ type: "dial", id: 1, target: { address } } as never)).type, "dial.done");
    const { addresses } = await node.fact(of("reachable"));
    assert.ok(addresses.every((each) => each.includes(`/p2p/${gateway.peer}/p2p-circuit`)), addresses.join(" "));
    await node.fact(of("dht.ready"));
    return node;
  };
  const [a, b] = [await join("a"), await join("b")];
  // The gateway hears of a's relayed address a moment after a does.
  const deadline = performance.now() + 10_000;
  let answer = await b.ask({ type: "dial", id: 2, target: { peer: a.peer } } as never);
  while (answer.type !== "dial.done" && performance.now() < deadline) {
    answer = await b.ask({ type: "dial", id: 2, target: { peer: a.peer } } as never);
  }
  assert.is(answer.type, "dial.done", JSON.stringify(answer));
  await Promise.all([a.stop(), b.stop()]);
  await gateway.stop();
});

test.run();
