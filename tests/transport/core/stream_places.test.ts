/** How many streams a peer may have, and when a place is free again. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  kadStreamsPerPeerMax,
  StreamPlaces,
  streamsPerPeerMax,
  type StreamVerdict,
} from "../../../transport/core/stream_places.ts";
import { kadProtocol, type StreamListener } from "../../../transport/core/wire.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("StreamPlaces");

function listening(log: string[] = []): StreamListener {
  return { data: () => {}, ended: () => {}, closed: (how) => log.push(how) };
}

test("one stream more is too many, in each direction, of all protocols and over all connections of a peer", () => {
  const clock = new ManualClock();
  const [first, second, other] = [new FakeConnection(), new FakeConnection(), new FakeConnection()];
  const places = new StreamPlaces(clock, (connection) => connection === other ? "other" : "peer");
  const receive = (on: FakeConnection, protocol = "/a") => places.received(on, protocol, () => listening());
  for (let each = 0; each < streamsPerPeerMax / 2; each++) {
    assert.is.not(receive(first), "too-many");
    assert.is.not(receive(second, "/b"), "too-many");
  }
  assert.equal([receive(first), receive(second), receive(second, "/c")], ["too-many", "too-many", "too-many"]);
  assert.is.not(receive(other), "too-many");
  const log: string[] = [];
  for (let each = 0; each < streamsPerPeerMax; each++) places.open(first, "/a", listening(log));
  places.open(second, "/b", listening(log));
  assert.equal(log, [], "inside the call that asked");
  clock.settle();
  assert.equal(log, ["too-many"]);
  assert.equal([first.opened.length, second.opened.length], [streamsPerPeerMax, 0]);
});

test("streams that end free their own places and no other ones, and a peer without streams is forgotten", () => {
  const places = new StreamPlaces(new ManualClock(), () => "peer");
  const connection = new FakeConnection();
  const receive = (protocol = "/a") => places.received(connection, protocol, () => listening());
  const end = (verdict: StreamVerdict | undefined) => {
    if (typeof verdict !== "object") throw new Error(`no stream: ${verdict}`);
    verdict.closed("done", "");
  };
  const all = Array.from({ length: streamsPerPeerMax }, () => receive());
  const another = receive(kadProtocol);
  end(another);
  assert.is(receive(), "too-many");
  while (all.length > 1) end(all.pop());
  while (all.length < streamsPerPeerMax) all.push(receive());
  assert.is(receive(), "too-many");
  assert.equal(places.counts, { peers: 1, connections: 1 });
  for (const each of all) end(each);
  assert.equal(places.counts, { peers: 0, connections: 0 });
});

test("a stream beyond the limit is one on which nothing happens but its end, which says how many there are", () => {
  const clock = new ManualClock();
  const places = new StreamPlaces(clock, () => "peer");
  const connection = new FakeConnection();
  const details: (string | undefined)[] = [];
  const listener = (): StreamListener => ({ ...listening(), closed: (_how, detail) => details.push(detail) });
  for (const [protocol, max] of [["/a", streamsPerPeerMax], [kadProtocol, kadStreamsPerPeerMax]] as const) {
    for (let each = 0; each < max; each++) places.open(connection, protocol, listener());
    const stream = places.open(connection, protocol, listener());
    assert.is(stream.send(new Uint8Array(1)), true, "nobody waits for it to drain");
  }
  clock.settle();
  assert.equal(details, ["already 128 streams to this peer", "already 64 streams to this peer"]);
});

test("the wire acknowledges a stream to a listener that waits for it, and to no other one", () => {
  const places = new StreamPlaces(new ManualClock(), () => "peer");
  const connection = new FakeConnection();
  const log: string[] = [];
  places.open(connection, "/a", listening());
  places.open(connection, "/a", { ...listening(), opened: () => void log.push("opened") });
  const [first, second] = connection.opened;
  assert.is(first?.listener.opened, undefined);
  second?.listener.opened?.();
  assert.equal(log, ["opened"]);
});

test("streams of Kademlia have places of their own", () => {
  const places = new StreamPlaces(new ManualClock(), () => "peer");
  const receive = (protocol: string) => places.received(new FakeConnection(), protocol, () => listening());
  for (let each = 0; each < kadStreamsPerPeerMax; each++) assert.is.not(receive(kadProtocol), "too-many");
  assert.is(receive(kadProtocol), "too-many");
  for (let each = 0; each < streamsPerPeerMax; each++) assert.is.not(receive("/a"), "too-many");
  assert.is(receive("/a"), "too-many");
});

test("a place is free again when its stream is closed, or when no listener took it", () => {
  const places = new StreamPlaces(new ManualClock(), () => "peer");
  const connection = new FakeConnection();
  const isUsed = () => places.isUsed(connection);
  assert.is(places.received(connection, "/hypha-a", () => "refused"), "refused");
  assert.is(isUsed(), false);
  const log: string[] = [];
  const kept = places.received(connection, "/hypha-a", () => listening(log));
  assert.is(isUsed(), true);
  if (typeof kept !== "string") kept.closed("done", "");
  assert.equal([isUsed(), log], [false, ["done"]]);
  places.open(connection, "/hypha-a", listening(log));
  assert.is(isUsed(), true);
  connection.opened[0]?.listener.closed("reset", "");
  assert.equal([isUsed(), log], [false, ["done", "reset"]]);
});

test("a connection is used when a stream of an own protocol begins and when it ends, not by a library's streams", () => {
  const clock = new ManualClock();
  const places = new StreamPlaces(clock, () => "peer");
  const connection = new FakeConnection();
  assert.is(places.usedAt(connection), Number.NEGATIVE_INFINITY, "not established yet");
  places.established(connection);
  const [established, passed] = [clock.monotonic(), 10_000];
  clock.pass(passed);
  places.open(connection, kadProtocol, listening([]));
  assert.equal([places.isUsed(connection), places.usedAt(connection)], [false, established]);
  places.open(connection, "/hypha-a", listening([]));
  assert.is(places.usedAt(connection), established + passed);
  clock.pass(passed);
  connection.opened[1]?.listener.closed("done", "");
  assert.equal([places.isUsed(connection), places.usedAt(connection)], [false, established + 2 * passed]);
  places.open(connection, "/hypha-a", listening([]));
  places.open(connection, "/hypha-b", listening([]));
  connection.opened[3]?.listener.closed("done", "");
  assert.is(places.isUsed(connection), true, "by the other one");
});

test.run();
