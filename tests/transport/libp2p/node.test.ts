import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNode } from "../../../transport/libp2p/node.ts";
import { Listening } from "../../../transport/libp2p/listening.ts";
import { internalsOf } from "../../../transport/libp2p/node_internals.ts";
import type { TransportInput } from "../../../transport/port.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { makeTestPki } from "../../support/pki.ts";
import { identityOf } from "../../support/transports.ts";

const test = suite("createNode()");
const pki = await makeTestPki();
const identity = identityOf(await pki.node("node"));

function nodeOf(changed: Partial<TransportInput>, listening = new Listening()) {
  const input = {
    identity,
    listenAddresses: [],
    externalAddresses: [],
    relay: "off",
    handshakeTimeoutMs: 1_000,
    ...changed,
  } as unknown as TransportInput;
  return createNode(input, {
    encrypter: () => ({ protocol: "/tls/1.0.0" }) as never,
    gater: {},
    protector: { protect: (stream) => Promise.resolve(stream) },
    addresses: {
      mayDial: () => true,
      isConfigured: () => false,
      mayKnow: () => true,
      announced: (own) => [...own],
    },
    turnsAway: () => false,
    listening,
    clock: new ManualClock(),
  });
}

test("a gateway serves the DHT from the start, all others ask it until they have an address", async () => {
  for (const role of ["gateway", "worker", "scheduler", "data"] as const) {
    const node = await nodeOf({ role });
    assert.is(node.services.dht.getMode(), role === "gateway" ? "server" : "client", role);
  }
});

test("bug: a public address that a node listens on was not among its addresses", async () => {
  const own = ["/ip4/8.8.4.4/tcp/4001", "/ip6/2a01:4f8::1/tcp/4001", "/ip4/10.0.0.1/tcp/4001"];
  const listening = new Listening();
  const watching = listening.watching.bind(listening);
  listening.watching = (make) =>
    watching((components) => {
      const transport = make(components);
      const createListener = transport.createListener.bind(transport);
      const getAddrs = () => own.map((text) => multiaddr(text));
      return Object.assign(transport, {
        createListener: (options: Parameters<typeof createListener>[0]) =>
          Object.assign(createListener(options), { getAddrs }),
      });
    });
  const node = await nodeOf({ role: "worker", listenAddresses: ["/ip4/127.0.0.1/tcp/0"] }, listening);
  let first: readonly string[] | undefined;
  const all = () => node.getMultiaddrs().map((address) => address.toString().split("/p2p/")[0] ?? "");
  internalsOf(node).events.addEventListener("transport:listening", () => first ??= all());
  await node.start();
  const shown = all();
  await node.stop();
  assert.equal([first, shown], [own, own]);
});

test.run();
