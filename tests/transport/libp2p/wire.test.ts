/** The wire of production on loopback, under a connection table and real gates. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { Result } from "effect";
import { CID } from "multiformats/cid";
import { identity } from "multiformats/hashes/identity";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { priceOf } from "../../../transport/core/prices.ts";
import { kadProtocol, type StreamEnd, type WireConnection } from "../../../transport/core/wire.ts";
import type { Libp2pConnection } from "../../../transport/libp2p/connections.ts";
import type { TransportError } from "../../../transport/port.ts";
import type { KadMessage } from "../../../transport/protocols/kad_record.ts";
import { makeTestPki } from "../../support/pki.ts";
import { makeWire, startWire, type TestWire } from "../../support/libp2p_wires.ts";
import { descriptors, until } from "../../support/transports.ts";

const test = suite("Libp2pWire");
const pki = await makeTestPki();
const utf8 = (text: string) => new TextEncoder().encode(text);
const hopProtocol = "/libp2p/circuit/relay/0.2.0/hop";
const twoPorts = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0"];

/** A connection of libp2p answers the streams that its multiplexer brings. */
interface AnswersStreams {
  readonly muxer: EventTarget;
  readonly onIncomingStream: EventListener;
}

/** A connection of libp2p has the components of its node. */
interface HasListeners {
  readonly components: { readonly transportManager: { getListeners(): readonly object[] } };
}

/** A connection of libp2p has the components of its node. */
interface HasHandlers {
  readonly components: {
    readonly registrar: {
      getHandler(protocol: string): { readonly handler: object; readonly options: object };
      unhandle(protocol: string): Promise<void>;
      handle(protocol: string, handler: object, options: object): Promise<void>;
    };
  };
}

/** Tries until it succeeds, with a deadline. */
async function eventually(what: string, attempt: () => Promise<boolean>, ms = 20_000): Promise<void> {
  for (const end = performance.now() + ms; !(await attempt());) {
    if (performance.now() > end) throw new Error(`Cannot see ${what} within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function connected(from: TestWire, to: TestWire, port = 0): Promise<WireConnection> {
  const outcome = await from.dial({ address: to.started.bound[port]! });
  return Result.getOrThrow(outcome);
}

/** Opens a stream, sends, ends; how it closed and what came back. */
function exchange(connection: WireConnection, protocol: string, bytes: Uint8Array) {
  return new Promise<{ readonly how: StreamEnd; readonly calls: readonly string[] }>((resolve) => {
    const calls: string[] = [];
    const stream = connection.openStream(protocol, {
      opened: () => void calls.push("opened"),
      data: () => void calls.push("data"),
      ended: () => void calls.push("ended"),
      closed: (how) => resolve({ how, calls }),
    });
    stream.end(bytes);
    assert.equal(calls, [], "not inside the call");
  });
}

test("a stream goes both ways, and each verdict on it comes out at the other side", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const connection = await connected(a, b);
  assert.equal((await exchange(connection, "/x/1", utf8("hello"))).how, "unsupported");
  b.wire.serve("/x/1");
  b.wire.serve("/x/1");
  assert.equal(await exchange(connection, "/x/1", utf8("hello")), { how: "done", calls: ["opened", "ended"] });
  const [received] = b.listener.streams;
  assert.equal(received?.came.map((bytes) => new TextDecoder().decode(bytes)).join(""), "hello");
  assert.is(received?.stream.protocol, "/x/1");
  assert.is(received?.connection, b.listener.opens[0], "the connection is the table's");
  for (const verdict of ["unsupported", "too-many", "refused"] as const) {
    b.listener.verdict = verdict;
    assert.is((await exchange(connection, "/x/1", utf8("hello"))).how, "reset");
  }
  b.wire.unserve("/x/1");
  b.wire.unserve("/x/1");
  assert.equal((await exchange(connection, "/x/1", utf8("hello"))).how, "unsupported");
  assert.is(b.listener.streams.length, 1);
  await Promise.all([a.stop(), b.stop()]);
  assert.equal([a.listener.size, b.listener.size], [0, 0]);
});

test("Kademlia's streams are the core's, whenever the node began to serve", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const connection = await connected(a, b);
  assert.is((await exchange(connection, kadProtocol, utf8("?"))).how, "unsupported");
  for (const serves of [true, false, true]) b.wire.serveDht(serves);
  await eventually("the DHT to serve", async () => (await exchange(connection, kadProtocol, utf8("?"))).how === "done");
  assert.is(b.listener.streams.at(-1)?.stream.protocol, kadProtocol);
  await Promise.all([a.stop(), b.stop()]);
});

test("a member that may not bring circuits brings none, and does not make itself a relay by one", async () => {
  for (const relay of ["client", "server"] as const) {
    const [a, b] = await Promise.all([startWire(pki), startWire(pki, { relay })]);
    a.wire.serve("/libp2p/circuit/relay/0.2.0/hop");
    b.listener.denied.add("relay.connect");
    const outcome = await b.dial({ address: `${a.started.bound[0]}/p2p/${a.peer}` });
    assert.ok(Result.isSuccess(outcome));
    const [connection] = a.listener.opens;
    if (connection === undefined) throw new Error("no connection");
    const { how } = await exchange(connection, "/libp2p/circuit/relay/0.2.0/stop", Uint8Array.of(2, 8, 0));
    assert.equal(a.listener.streams.map(({ stream }) => stream.protocol), [], `${relay}: asked for a reservation`);
    assert.is(how, "reset", relay);
    assert.equal(b.listener.asked.filter(({ act }) => act === "relay.connect"), [{
      act: "relay.connect",
      peer: a.peer,
    }]);
    await Promise.all([a.stop(), b.stop()]);
  }
});

test("bug: each reservation that a relay refused left a listener, for as long as the node ran", async () => {
  const [member, relay] = await Promise.all([startWire(pki, { relay: "client" }), startWire(pki, { relay: "server" })]);
  relay.listener.denied.add("relay.reserve");
  const connection = await connected(member, relay);
  const { components } = (connection as Libp2pConnection).connection as unknown as HasListeners;
  const reserve = () => new Promise<boolean>((resolve) => member.wire.reserve(connection, resolve));
  const listeners = () => components.transportManager.getListeners().length;
  const before = listeners();
  for (let left = 3; left > 0; left--) assert.is(await reserve(), false);
  assert.is(listeners(), before + 1);
  relay.listener.denied.clear();
  assert.is(await reserve(), true);
  const announced = () => member.listener.announcements.at(-1)?.filter((address) => address.includes("/p2p-circuit"));
  await until("the relayed address", () => announced()?.length === 1);
  assert.is(await reserve(), true, "it is renewed");
  assert.is(listeners(), before + 1);
  connection.close("now", "enough");
  await until("the end of the relayed address", () => announced()?.length === 0);
  await Promise.all([member.stop(), relay.stop()]);
});

test("bug: a relay that had no relay service for a while was used again only after a restart", async () => {
  const [relay, member] = await Promise.all([startWire(pki, { relay: "server" }), startWire(pki, { relay: "client" })]);
  const connection = await connected(member, relay);
  const reserve = () => new Promise<boolean>((resolve) => member.wire.reserve(connection, resolve));
  const { components: { registrar } } = (relay.listener.opens[0] as Libp2pConnection)
    .connection as unknown as HasHandlers;
  const { handler, options } = registrar.getHandler(hopProtocol);
  await registrar.unhandle(hopProtocol);
  assert.is(await reserve(), false, "its first reservation");
  assert.is(await reserve(), false, "a later one");
  await registrar.handle(hopProtocol, handler, options);
  await eventually("a reservation", reserve, 5_000);
  await Promise.all([relay, member].map((each) => each.stop()));
});

test("bug: a reservation that was there was not renewed, whatever its time by the relay's clock", async () => {
  const [relay, client] = await Promise.all([startWire(pki, { relay: "server" }), startWire(pki, { relay: "client" })]);
  const connection = await connected(client, relay);
  const reserve = () => new Promise<boolean>((resolve) => client.wire.reserve(connection, resolve));
  const asked = () => relay.listener.asked.filter(({ act }) => act === "relay.reserve").length;
  assert.equal([await reserve(), asked()], [true, 1]);
  assert.equal([await reserve(), asked()], [true, 2]);
  relay.listener.denied.add("relay.reserve");
  assert.is(await reserve(), false);
  await Promise.all([relay.stop(), client.stop()]);
});

test("a member that calls itself the provider of anything fills no memory: providers are not kept, and none are named", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const connection = await connected(a, b);
  const key = CID.createV1(0x55, identity.digest(utf8("anything"))).bytes;
  const answer = (message: KadMessage) =>
    new Promise<Result.Result<KadMessage | undefined, TransportError>>((resolve) =>
      a.wire.kadAnswer(connection, message, resolve)
    );
  const provider = {
    id: peerIdFromString(b.peer).toMultihash().bytes,
    addresses: [multiaddr("/ip4/192.0.2.1/tcp/1").bytes],
  };
  const added = await answer({ type: "ADD_PROVIDER", key, closer: [], providers: [provider] });
  assert.equal(added, Result.succeed(undefined));
  const found = await answer({ type: "GET_PROVIDERS", key, closer: [], providers: [] });
  assert.equal(Result.getOrThrow(found)?.providers, []);
  await Promise.all([a.stop(), b.stop()]);
});

test("the library answers what carries no record, and never takes one", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const connection = await connected(a, b);
  const key = peerIdFromString(a.peer).toMultihash().bytes;
  const answer = (message: KadMessage) =>
    new Promise<Result.Result<KadMessage | undefined, TransportError>>((resolve) =>
      a.wire.kadAnswer(connection, message, resolve)
    );
  const none = { closer: [], providers: [] };
  const self = Result.getOrThrow(await answer({ type: "FIND_NODE", key, ...none }));
  assert.equal(self?.closer.map(({ id }) => id), [key], "asked for itself it names itself");
  assert.ok((self?.closer[0]?.addresses.length ?? 0) > 0);
  assert.equal(Result.getOrThrow(await answer({ type: "PING", ...none })), { type: "PING", ...none });
  const large: KadMessage = { type: "PING", key, closer: [{ id: key, addresses: [] }], providers: [] };
  const pong = Result.getOrThrow(await answer(large));
  assert.equal(pong, { type: "PING", ...none }, "bug: a PING was echoed with all that it brought");
  const value = await answer({ type: "GET_VALUE", key: utf8("k"), clusterLevel: 3, ...none });
  assert.equal(Result.getOrThrow(value), { type: "GET_VALUE", key: utf8("k"), clusterLevel: 3, ...none });
  for (
    const bad of [{ type: "GET_VALUE", ...none }, { type: "FIND_NODE", ...none }, { type: "PUT_VALUE", key, ...none }]
  ) assert.ok(Result.isFailure(await answer(bad as KadMessage)), bad.type);
  connection.close("now", "enough");
  await until("the end", () => a.listener.size === 0);
  await Promise.all([a.stop(), b.stop()]);
});

test("bulk that this node asked for costs its peer nothing, whichever side dialled; bulk that was not is paid for", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const bulk = new Uint8Array(4 * 1_048_576);
  for (const { wire } of [a, b]) wire.serve("/bulk/1");
  await connected(a, b);
  for (const [asker, answerer] of [[a, b], [b, a]] as const) {
    const before = asker.listener.charged.get(answerer.peer) ?? 0;
    let came = 0;
    const stream = asker.listener.opens[0]!.openStream("/bulk/1", {
      data: (bytes) => void (came += bytes.byteLength),
      ended: () => stream.end(),
      closed: () => {},
    });
    stream.send(utf8("please"));
    await until("the question", () => (answerer.listener.streams.at(-1)?.came.length ?? 0) > 0);
    answerer.listener.streams.at(-1)?.stream.end(bulk);
    await until("the answer", () => came === bulk.length);
    const charged = (asker.listener.charged.get(answerer.peer) ?? 0) - before;
    assert.ok(charged < priceOf("bytes", bulk.length) / 2, `an answer: ${charged}`);
    answerer.listener.streams.length = 0;
  }
  const before = b.listener.charged.get(a.peer) ?? 0;
  assert.is((await exchange(a.listener.opens[0]!, "/bulk/1", bulk)).how, "done");
  assert.ok((b.listener.charged.get(a.peer) ?? 0) - before >= priceOf("bytes", bulk.length), "unasked");
  await Promise.all([a.stop(), b.stop()]);
});

test("dials: a connection there is, an address, a refused one, nothing, and not what may not be dialled", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const address = b.started.bound[0]!;
  const codeOf = async (target: Parameters<TestWire["dial"]>[0]) => {
    const outcome = await a.dial(target);
    return Result.isFailure(outcome) ? outcome.failure.code : "connected";
  };
  const first = Result.getOrThrow(await a.dial({ peer: b.peer, addresses: [address] }));
  assert.is(Result.getOrThrow(await a.dial({ peer: b.peer })), first);
  assert.equal([first.expectedPeer, first.direction, first.relay], [b.peer, "outbound", undefined]);
  const known = await new Promise<readonly string[]>((resolve) => a.wire.addressesOf(b.peer, resolve));
  assert.ok(known.includes(address), String(known));
  assert.equal(await new Promise((resolve) => a.wire.addressesOf(a.peer.slice(1), resolve)), []);
  assert.is(await codeOf({ address: "/ip4/127.0.0.1/tcp/1" }), "unreachable");
  assert.is(await codeOf({ peer: "nobody" }), "unreachable");
  a.listener.isDialled = () => false;
  assert.is(await codeOf({ address: `${address}/p2p/${a.peer.replace(/.$/, "x")}` }), "unreachable");
  await Promise.all([a.stop(), b.stop()]);
});

test("bug: a dial while the last connection to the peer was closing was given that one, and failed", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const address = `${b.started.bound[0]}/p2p/${b.peer}`;
  let last = Result.getOrThrow(await a.dial({ address }));
  for (const target of [{ address }, { peer: b.peer }, { peer: b.peer, addresses: [address] }]) {
    last.close("gently", "unused");
    const next = Result.getOrThrow(await a.dial(target));
    assert.ok(next !== last && next.isOpen, JSON.stringify(target));
    last = next;
  }
  assert.is(Result.getOrThrow(await a.dial({ address })), last, "the open one that there is");
  await Promise.all([a.stop(), b.stop()]);
});

test("bug: a gentle close ended a stream whose protocol the other side alone had agreed on: it was whole, without its bytes", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  b.wire.serve("/x/1");
  for (const ends of [false, true]) {
    const connection = await connected(a, b);
    const calls = new Promise<readonly string[]>((resolve) => {
      const calls: string[] = [];
      b.listener.stream = () => {
        connection.close("gently", "done");
        return {
          data: () => void calls.push("data"),
          ended: () => void calls.push("ended"),
          closed: () => resolve(calls),
        };
      };
    });
    const stream = connection.openStream("/x/1", { data: () => {}, ended: () => {}, closed: () => {} });
    stream.send(utf8("hello"));
    if (ends) stream.end();
    assert.equal(await calls, [], `${ends}`);
  }
  await Promise.all([a.stop(), b.stop()]);
});

test("an address that was dialled is remembered for its peer", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const address = b.started.bound[0]!;
  assert.ok(Result.isSuccess(await a.dial({ address })));
  const known = await new Promise<readonly string[]>((resolve) => a.wire.addressesOf(b.peer, resolve));
  assert.ok(known.includes(address), String(known));
  await Promise.all([a.stop(), b.stop()]);
});

test("a stop fails a dial that waits for its answer", async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const a = await startWire(pki);
  const { port } = silent.address() as { port: number };
  const outcome = a.dial({ address: `/ip4/127.0.0.1/tcp/${port}` });
  await until("the handshake", () => a.listener.size === 1);
  await a.stop();
  assert.ok(Result.isFailure(await outcome));
  silent.close();
});

test("a dial that is given up reports nothing", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  let done = 0;
  a.wire.dial({ address: b.started.bound[0]! }, () => done++)();
  a.wire.findPeer(b.peer, () => done++, () => done++)();
  a.wire.closestPeers(utf8("key"), () => done++)();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.is(done, 0);
  await Promise.all([a.stop(), b.stop()]);
});

test("gossip carries its author and who handed it on; without a peer it is not connected", async () => {
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  const publish = (text: string) =>
    new Promise<string>((resolve) =>
      a.wire.publish(
        "topic",
        utf8(text),
        (outcome) => resolve(Result.isSuccess(outcome) ? "done" : outcome.failure.code),
      )
    );
  assert.is(await publish("early"), "not-connected");
  for (const { wire } of [a, b]) wire.subscribe("topic");
  await connected(a, b);
  await eventually("the first message", async () => (await publish("first"), b.listener.gossiped.length > 0));
  const [message] = b.listener.gossiped;
  assert.equal([message?.topic, message?.author, message?.via], ["topic", a.peer, a.peer]);
  b.wire.unsubscribe("topic");
  await Promise.all([a.stop(), b.stop()]);
});

test("bug: a member that leaves the streams of gossip unanswered kept all that connect after it from gossip", async () => {
  const [gateway, silent, a, b] = await Promise.all([startWire(pki), startWire(pki), startWire(pki), startWire(pki)]);
  for (const { wire } of [gateway, a, b]) wire.subscribe("topic");
  const { connection } = await connected(silent, gateway) as Libp2pConnection;
  const { muxer, onIncomingStream } = connection as unknown as AnswersStreams;
  muxer.removeEventListener("stream", onIncomingStream);
  muxer.addEventListener("stream", () => {});
  for (let left = 3; left > 0; left--) await connection?.newStream("/meshsub/1.1.0");
  for (const member of [a, b]) await connected(member, gateway);
  await eventually("gossip through the gateway", async () => {
    await new Promise<void>((resolve) => a.wire.publish("topic", utf8("hello"), () => resolve()));
    return b.listener.gossiped.length > 0;
  }, 8_000);
  await Promise.all([gateway, silent, a, b].map((each) => each.stop()));
});

test("gossip goes on over another connection of a peer: it once was lost for good with the connection it began on", async () => {
  // Addresses that change with a connection are pushed to the peer, which would mend it by accident: they announce none.
  const isHidden = true;
  const [a, b] = await Promise.all([
    startWire(pki, { isHidden }),
    startWire(pki, { isHidden, listenAddresses: twoPorts }),
  ]);
  for (const { wire } of [a, b]) wire.subscribe("topic");
  const first = await connected(a, b);
  let count = 0;
  const arrives = async () => {
    const text = `message ${count++}`;
    await new Promise<void>((resolve) => a.wire.publish("topic", utf8(text), () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, 50));
    return b.listener.gossiped.some(({ bytes }) => new TextDecoder().decode(bytes) === text);
  };
  await eventually("gossip over the first connection", arrives);
  const second = await connected(a, b, 1);
  assert.is.not(second, first);
  assert.is(a.listener.opens.length, 2);
  // What identify pushes after the start has to be over: with each push gossipsub looks for a stream, and keeps one that it has.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  first.close("gently", "one is enough");
  await until("the end of the first", () => a.listener.size === 1 && b.listener.size === 1);
  assert.ok(second.isOpen);
  await eventually("gossip over the second connection", arrives, 5_000);
  await Promise.all([a.stop(), b.stop()]);
});

test("bug: gossip of a member that lost its link and came back was lost for good once its old connection was cut", async () => {
  const isHidden = true; // as above
  const [a, b] = await Promise.all([startWire(pki, { isHidden }), startWire(pki, { isHidden })]);
  for (const { wire } of [a, b]) wire.subscribe("topic");
  const address = b.started.bound[0]!;
  const port = Number(/tcp\/(\d+)/.exec(address)?.[1]);
  const links: Socket[] = [];
  const proxy = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    near.pipe(far, { end: false }).on("error", () => {});
    far.pipe(near, { end: false }).on("error", () => {});
    links.push(near);
  });
  await new Promise<void>((resolve) => void proxy.listen(0, "127.0.0.1", resolve));
  const { port: proxied } = proxy.address() as AddressInfo;
  Result.getOrThrow(await a.dial({ address: address.replace(`tcp/${port}`, `tcp/${proxied}`) }));
  let count = 0;
  const arrives = async (from: TestWire, to: TestWire) => {
    const text = `message ${count++}`;
    await new Promise<void>((resolve) => from.wire.publish("topic", utf8(text), () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, 50));
    return to.listener.gossiped.some(({ bytes }) => new TextDecoder().decode(bytes) === text);
  };
  await eventually("gossip to the member", () => arrives(b, a));
  await eventually("gossip of the member", () => arrives(a, b));
  for (const link of links) link.destroy();
  await until("the loss of the link", () => a.listener.size === 0);
  await connected(a, b);
  await new Promise((resolve) => setTimeout(resolve, 1_500)); // the member opens its stream over it
  b.listener.opens[0]!.close("now", "it is dead");
  await until("the end of the old connection", () => b.listener.size === 1);
  await eventually("gossip of the member over its new connection", () => arrives(a, b), 5_000);
  await eventually("gossip to the member over its new connection", () => arrives(b, a), 5_000);
  await Promise.all([a.stop(), b.stop()]);
  proxy.close();
});

test("a stop ends connections and handshakes, leaves no socket, and a stopped start fails", async () => {
  const before = descriptors();
  const [a, b] = await Promise.all([startWire(pki), startWire(pki)]);
  await connected(a, b);
  const port = Number(/\/tcp\/(\d+)/.exec(b.started.bound[0]!)?.[1]);
  const silent = connect(port, "127.0.0.1").on("error", () => {});
  await until("the handshake", () => b.listener.size === 2);
  await Promise.all([a.stop(), b.stop()]);
  await b.stop();
  assert.equal([a.listener.size, b.listener.size], [0, 0]);
  silent.destroy();
  const { wire, listener } = await makeWire(pki);
  const outcome = new Promise<string>((resolve) =>
    wire.start(listener, (started) => resolve(Result.isFailure(started) ? started.failure.code : "started"))
  );
  await new Promise<void>((resolve) => wire.stop(resolve));
  assert.is(await outcome, "stopped");
  await until("the sockets to close", () => descriptors() <= before);
});

test("once it stops listening, connections stay and no further one comes; its ports are known", async () => {
  const [a, b, c] = await Promise.all([startWire(pki), startWire(pki), startWire(pki)]);
  const connection = await connected(a, b);
  assert.equal(b.wire.stopListening(), b.started.bound);
  const outcome = await c.dial({ address: b.started.bound[0]! });
  assert.ok(Result.isFailure(outcome) && outcome.failure.code === "unreachable");
  b.wire.serve("/x/1");
  assert.is((await exchange(connection, "/x/1", utf8("hello"))).how, "done");
  await Promise.all([a.stop(), b.stop(), c.stop()]);
});

test("its addresses are announced at the start, once as long as they do not change", async () => {
  const a = await startWire(pki);
  assert.equal(a.listener.announcements, [a.started.addresses]);
  await a.stop();
});

test.run();
