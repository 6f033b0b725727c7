/** What is dialled when a peer's remembered addresses lead nowhere: libp2p, its routing and the gates played by the test. */
import type { Connection } from "@libp2p/interface";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Connections } from "../../../transport/core/connections.ts";
import { namingPeer, withoutPeer } from "../../../transport/core/connections.ts";
import { DialFailed, Dialler } from "../../../transport/core/dialing.ts";
import type { Node } from "../../../transport/libp2p/node.ts";

const test = suite("Dialler");
const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const relay = "12D3KooWCdeFXToKJSgotLQahnWW5Ab6MtrzGkE3LskCRrhFjFT5";

/** Dials a peer whose remembered addresses are stale, of which the network says `known`. */
async function redial(
  known: readonly string[],
): Promise<{ readonly dialled: readonly string[]; readonly code: string }> {
  const dialled: string[] = [];
  const connection = {} as Connection;
  const libp2p = {
    dial: (target: Multiaddr[] | object) => {
      if (!Array.isArray(target)) return Promise.reject(new Error("connection error: connect ECONNREFUSED"));
      dialled.push(...target.map(String));
      return Promise.resolve(connection);
    },
    peerRouting: { findPeer: () => Promise.resolve({ multiaddrs: known.map((text) => multiaddr(text)) }) },
  };
  const connections = {
    mark: () => 0,
    refusalSince: () => undefined,
    best: () => undefined,
    book: { of: () => ({ gate: { phase: "established" } }) },
  };
  const dialler = new Dialler(libp2p as unknown as Node, connections as unknown as Connections, 1_000);
  const code = await dialler.dial({ peer }).then(() => "done", (error) => (error as DialFailed).refusal.code);
  return { dialled, code };
}

test("an address through a relay ends with the relay's PeerID: the peer's own is appended all the same", async () => {
  const known = [
    `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit`,
    `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peer}`,
    "/ip4/192.0.2.2/tcp/4001",
    `/ip4/192.0.2.3/tcp/4001/p2p/${peer}`,
  ];
  assert.equal(await redial(known), {
    code: "done",
    dialled: [
      `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peer}`,
      `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peer}`,
      `/ip4/192.0.2.2/tcp/4001/p2p/${peer}`,
      `/ip4/192.0.2.3/tcp/4001/p2p/${peer}`,
    ],
  });
});

test("a peer that nobody knows stays unreachable", async () => {
  assert.equal(await redial([]), { code: "unreachable", dialled: [] });
});

test("whom an address leads to is its last PeerID: two peers behind one relay stay two", () => {
  const direct = "/ip4/192.0.2.1/tcp/1";
  const circuit = `${direct}/p2p/${relay}/p2p-circuit`;
  for (const address of [direct, circuit]) {
    for (const written of [address, `${address}/p2p/${relay}`, `${address}/p2p/${peer}`]) {
      assert.is(namingPeer(written, peer), `${address}/p2p/${peer}`);
    }
  }
  assert.is(withoutPeer(`${direct}/p2p/${peer}`), direct);
  assert.is(withoutPeer(`${circuit}/p2p/${peer}`), `${circuit}/p2p/${peer}`);
});

test.run();
