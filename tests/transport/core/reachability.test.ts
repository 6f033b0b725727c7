/** When a node says how it is reached, and how it asks again where a relay has no place for it. */
import { setImmediate } from "node:timers";
import type { Connection } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { NodeInternals } from "../../../transport/libp2p/node_internals.ts";
import type { Node } from "../../../transport/libp2p/node.ts";
import type { Outbox } from "../../../transport/core/outbox.ts";
import type { TransportFact, TransportInput } from "../../../transport/port.ts";
import { Reachability } from "../../../transport/core/reachability.ts";

const test = suite("Reachability");
const relay = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const gateway = "/ip4/127.0.0.1/tcp/4001";

/** A node whose libp2p is the test. */
function nodeOf(input: Partial<TransportInput>, listen: () => Promise<void> = () => Promise.resolve()) {
  const facts: TransportFact[] = [];
  const modes: string[] = [];
  const addresses: string[] = [];
  const events = new EventTarget();
  const libp2p = {
    getMultiaddrs: () => addresses,
    getConnections: () => [],
    services: { dht: { setMode: (mode: string) => Promise.resolve(void modes.push(mode)) } },
  };
  const reachability = new Reachability(
    libp2p as unknown as Node,
    { events, listen } as unknown as NodeInternals,
    {
      role: "worker",
      relay: "client",
      gatewayAddresses: [gateway],
      excludeCidr: ["10.0.0.0/8"],
      random: () => 0.5,
      ...input,
    } as TransportInput,
    { tell: (fact: TransportFact) => facts.push(fact) } as unknown as Outbox,
  );
  const say = (type: string) => events.dispatchEvent(new Event(type));
  return { reachability, facts, modes, addresses, say };
}

test("a gateway's DHT is ready at once, another node's when it has asked for itself; each says so once", () => {
  const { reachability, facts, say } = nodeOf({ role: "gateway" });
  reachability.started();
  assert.equal(facts, [{ type: "dht.ready" }]);
  say("kad-dht:query:self");
  assert.is(facts.length, 1);
  const worker = nodeOf({});
  worker.reachability.started();
  assert.equal(worker.facts, []);
  worker.say("kad-dht:query:self");
  assert.equal(worker.facts, [{ type: "dht.ready" }]);
});

test("addresses are told when they change, and make a node serve the DHT; after a stop nothing is told", () => {
  const { reachability, facts, modes, addresses, say } = nodeOf({});
  reachability.started();
  addresses.push("/ip4/192.0.2.1/tcp/1");
  say("self:peer:update");
  say("transport:listening");
  assert.equal(facts, [{ type: "reachable", addresses: ["/ip4/192.0.2.1/tcp/1"] }]);
  addresses.pop();
  say("self:peer:update");
  assert.equal([facts.length, modes], [1, ["server", "client"]]);
  reachability.stop();
  addresses.push("/ip4/192.0.2.1/tcp/2");
  say("self:peer:update");
  assert.is(facts.length, 1);
});

test("who waits for a relay is not reachable by an address that only its own configuration lets through", () => {
  const { reachability, facts, modes, addresses, say } = nodeOf({});
  reachability.started();
  addresses.push("/ip4/10.0.0.1/tcp/1");
  say("self:peer:update");
  assert.equal([facts, modes], [[], ["client"]]);
  const relayed = `/ip4/10.0.0.2/tcp/1/p2p/${relay}/p2p-circuit`;
  addresses.push(relayed);
  say("self:peer:update");
  assert.equal(facts, [{ type: "reachable", addresses: ["/ip4/10.0.0.1/tcp/1", relayed] }]);
  assert.equal(modes, ["client", "server"]);
});

test("a relay without a place is asked again after one second, then after twice as long each time, up to a minute", async () => {
  let asked = 0;
  const { reachability } = nodeOf({}, () => {
    asked += 1;
    return Promise.reject(new Error("no place"));
  });
  const connection = {
    direct: true,
    status: "open",
    remoteAddr: { toString: () => `${gateway}/p2p/${relay}` },
    remotePeer: { toString: () => relay },
  } as unknown as Connection;
  const waits: number[] = [];
  const original = globalThis.setTimeout;
  globalThis.setTimeout = ((run: () => void, ms: number) => {
    waits.push(ms);
    if (waits.length < 9) queueMicrotask(run);
    return original(() => {}, 0);
  }) as typeof setTimeout;
  try {
    reachability.opened(connection);
    for (let turn = 0; turn < 1_000 && waits.length < 9; turn++) await new Promise((resolve) => setImmediate(resolve));
  } finally {
    globalThis.setTimeout = original;
    reachability.stop();
  }
  assert.equal(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  assert.is(asked, 9);
});

test.run();
