/** Every protocol that libp2p's services serve is judged before its handler sees a byte, and none is served without a row. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Result } from "effect";
import { Listening } from "../../../transport/libp2p/listening.ts";
import { createNode } from "../../../transport/libp2p/node.ts";
import { internalsOf } from "../../../transport/libp2p/node_internals.ts";
import { judged, UnjudgedProtocol } from "../../../transport/libp2p/served_protocols.ts";
import type { WireConnection } from "../../../transport/core/wire.ts";
import { startWire } from "../../support/libp2p_wires.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { makeTestPki } from "../../support/pki.ts";
import { transportInputOf } from "../../support/transports.ts";

const test = suite("served protocols");
const pki = await makeTestPki();

test("a handler without a row fails the start, with the name of its protocol", async () => {
  const libp2p = await createNode(transportInputOf({ pki, node: await pki.node("node"), relay: "server" }), {
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
    listening: new Listening(),
    clock: new ManualClock(),
  });
  const seen: string[] = [];
  internalsOf(libp2p).replaceHandlers((protocol, handler) => {
    seen.push(protocol);
    return protocol === "/ipfs/kad/1.0.0" ? handler : judged(protocol, handler, () => false);
  });
  Object.assign(libp2p.services.ping, { start: () => libp2p.handle("/extra/1.0.0", () => {}) });
  let error: unknown;
  try {
    await libp2p.start();
  } catch (thrown) {
    error = thrown;
  } finally {
    await libp2p.stop();
  }
  assert.instance(error, UnjudgedProtocol);
  assert.match(String(error), "Cannot serve /extra/1.0.0: no act stands for it");
  assert.ok(seen.includes("/libp2p/circuit/relay/0.2.0/hop"), "the handlers of all services come by");
  for (const name of ["constructor", "toString", ""]) {
    assert.throws(() => judged(name, () => {}, () => true), (thrown: unknown) => thrown instanceof UnjudgedProtocol);
  }
});

test("the stream of a service that its peer may not use is reset without an answer; of one that it may it is answered", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki, { relay: "server" })]);
  assert.ok(Result.isSuccess(await a.dial({ address: `${b.started.bound[0]}/p2p/${b.peer}` })));
  const [connection] = a.listener.opens as [WireConnection];
  const ask = (protocol: string) =>
    new Promise<[how: string, bytes: number]>((resolve) => {
      let bytes = 0;
      const stream = connection.openStream(protocol, {
        data: (piece) => void (bytes += piece.byteLength),
        ended: () => {},
        closed: (how) => resolve([how, bytes]),
      });
      stream.end(new Uint8Array(32));
    });
  const services = {
    "/ipfs/id/1.0.0": "identify",
    "/ipfs/id/push/1.0.0": "identify",
    "/ipfs/ping/1.0.0": "ping",
    "/libp2p/dcutr": "dcutr",
    "/libp2p/circuit/relay/0.2.0/hop": "relay.reserve",
    "/libp2p/circuit/relay/0.2.0/stop": "relay.connect",
    "/meshsub/1.2.0": "gossip",
  } as const;
  for (const [protocol, act] of Object.entries(services)) {
    b.listener.asked.splice(0);
    b.listener.denied.add(act);
    assert.equal(await ask(protocol), ["reset", 0], protocol);
    assert.ok(b.listener.asked.some((asked) => asked.act === act && asked.peer === a.peer), protocol);
  }
  b.listener.denied.clear();
  assert.equal(await ask("/ipfs/ping/1.0.0"), ["done", 32]);

  // What was permitted when the stream was opened, and is denied when its turn comes, is not done.
  const turns: (() => void)[] = b.listener.turns = [];
  const late = ask("/ipfs/id/1.0.0");
  for (let look = 0; look < 400 && turns.length === 0; look++) await new Promise((resolve) => setTimeout(resolve, 5));
  b.listener.denied.add("identify");
  turns.pop()?.();
  assert.equal(await late, ["reset", 0], "denied while it waited");
  await Promise.all([a.stop(), b.stop()]);
});

test.run();
