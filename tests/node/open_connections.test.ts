/** Which connections a node's operator is shown. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeOpenConnections } from "../../actors/node/open_connections.ts";
import type { Gate, GateEvent, GateInput } from "../../transport/port.ts";
import { identityOf } from "../support/fake_transport.ts";

const test = suite("open connections");

test("a connection is listed from its establishment to its end, with what was proved and since when", () => {
  let now = 1_000;
  const { follow, list, gates } = makeOpenConnections({ now: () => now });
  const listeners: ((event: GateEvent) => void)[] = [];
  const gate = { phase: "securing", listen: (listener: (event: GateEvent) => void) => void listeners.push(listener) };
  const make = follow(() => ({ ...gate }) as unknown as Gate);
  for (const address of ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2/p2p/R/p2p-circuit", "/ip4/127.0.0.1/tcp/3"]) {
    make({ direction: "inbound", address } as GateInput);
  }
  assert.equal(gates(), { securing: 3 });
  const identity = identityOf("w", "worker");
  for (const tell of listeners) tell({ type: "gate.verified", identity });
  assert.equal(list(), []);
  for (const tell of listeners.slice(0, 2)) tell({ type: "gate.established", identity });
  now = 2_000;
  listeners[0]?.({ type: "gate.established", identity });
  listeners[2]?.({ type: "gate.refused", refusal: undefined as never });
  assert.equal(list().map(({ address, since }) => [address, since]), [
    ["/ip4/127.0.0.1/tcp/1", 1_000],
    ["/ip4/127.0.0.1/tcp/2/p2p/R/p2p-circuit", 1_000],
  ]);
  listeners[0]?.({ type: "gate.closed", reason: { type: "by-them" } });
  assert.equal(list().map(({ address }) => address), ["/ip4/127.0.0.1/tcp/2/p2p/R/p2p-circuit"]);
  assert.equal(gates(), { securing: 1 }, "those that ended are not counted");
});

test.run();
