/** How many streams of a protocol a connection may have, and when a place is free again. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { StreamPlaces, streamsPerProtocolMax } from "../../../transport/core/stream_places.ts";
import type { StreamListener } from "../../../transport/core/wire.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("StreamPlaces");

function listening(log: string[] = []): StreamListener {
  return { data: () => {}, ended: () => {}, closed: (how) => log.push(how) };
}

test("one stream more of a protocol is too many, in each direction and on each connection for itself", () => {
  const clock = new ManualClock();
  const places = new StreamPlaces(clock);
  const connection = new FakeConnection();
  const receive = (on = connection) => places.received(on, "/a", () => listening());
  for (let each = 0; each < streamsPerProtocolMax; each++) assert.is.not(receive(), "too-many");
  assert.is(receive(), "too-many");
  assert.is.not(receive(new FakeConnection()), "too-many");
  assert.is.not(places.received(connection, "/b", () => listening()), "too-many");
  const log: string[] = [];
  for (let each = 0; each < streamsPerProtocolMax; each++) places.open(connection, "/a", listening(log));
  places.open(connection, "/a", listening(log));
  assert.equal(log, [], "inside the call that asked");
  clock.settle();
  assert.equal(log, ["too-many"]);
  assert.is(connection.opened.length, streamsPerProtocolMax);
});

test("a place is free again when its stream is closed, or when no listener took it", () => {
  const places = new StreamPlaces(new ManualClock());
  const connection = new FakeConnection();
  const isBusy = () => places.isBusy(connection, (protocol) => protocol === "/a");
  assert.is(places.received(connection, "/a", () => "refused"), "refused");
  assert.is(isBusy(), false);
  const log: string[] = [];
  const kept = places.received(connection, "/a", () => listening(log));
  assert.is(isBusy(), true);
  assert.is(places.isBusy(connection, (protocol) => protocol === "/b"), false);
  if (typeof kept !== "string") kept.closed("done", "");
  assert.equal([isBusy(), log], [false, ["done"]]);
  places.open(connection, "/a", listening(log));
  assert.is(isBusy(), true);
  connection.opened[0]?.listener.closed("reset", "");
  assert.equal([isBusy(), log], [false, ["done", "reset"]]);
});

test.run();
