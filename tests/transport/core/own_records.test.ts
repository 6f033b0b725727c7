/** Who is answered over `/hypha-record/1`, with what, and for how long. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { OwnRecords, recordQuestionMaxMs, recordQuestionsMax } from "../../../transport/core/own_records.ts";
import {
  decodeRecordResponse,
  encodeRecordRequest,
  recordProtocol,
  recordRequestMaxBytes,
} from "../../../transport/protocols/record_message.ts";
import { recordOf, utf8 } from "../../support/kad_peers.ts";
import { identityOf, type PlayedOptions, PlayedSession } from "../../support/played_session.ts";
import { StreamPair } from "../../support/wire_pair.ts";

const test = suite("OwnRecords");

function publishing(options: PlayedOptions = {}) {
  const served: string[] = [];
  const session = new PlayedSession({ ...options, wire: { serve: (protocol) => void served.push(protocol) } });
  const own = new OwnRecords(session.parts);
  /** Opens a stream of a peer; `came` is what it received. */
  const open = (peer = "peer") => {
    const came: Uint8Array[] = [];
    const pair = new StreamPair(session.clock, recordProtocol);
    pair.open(
      { data: (bytes) => void came.push(bytes), ended: () => {}, closed: () => {} },
      () => own.received(session.connectionTo(peer), identityOf(peer), pair.b),
    );
    session.clock.pass(0);
    return { pair, came };
  };
  const ask = (bytes: Uint8Array, peer = "peer") => {
    const { pair, came } = open(peer);
    pair.a.end(bytes);
    session.clock.pass(0);
    const [answer] = came;
    return answer === undefined ? pair.a.how : Result.getOrThrow(decodeRecordResponse(answer)).value;
  };
  return { own, session, clock: session.clock, served, open, ask };
}
const question = (key: string) => encodeRecordRequest({ key });

test("the protocol is spoken from the start on, by a node that publishes nothing too", () => {
  const { own, served, ask, clock } = publishing();
  assert.equal([ask(question("data")), served], [null, [recordProtocol]]);
  for (const key of ["data", "more"]) assert.ok(Result.isSuccess(own.put(recordOf(1, key))));
  assert.equal(served, [recordProtocol]);
  assert.equal(ask(question("data")), utf8("value"));
  assert.is(ask(question("other")), null);
  assert.equal([own.size, clock.waiting], [0, 0]);
});

test("a record that is refused is not kept", () => {
  const { own, ask } = publishing();
  assert.ok(Result.isFailure(own.put({ ...recordOf(1, "data"), value: new Uint8Array(16_385) })));
  assert.equal([ask(question("data")), own.get(utf8("data"))], [null, undefined]);
});

test("a record whose time is over is none", () => {
  const { own, ask, clock } = publishing();
  own.put({ ...recordOf(1, "data"), ttl: 2 });
  clock.pass(2_000);
  assert.is(ask(question("data")), null);
});

test("what does not decode gets no byte, and what is too large is reset", () => {
  const { own, ask, clock } = publishing();
  own.put(recordOf(1, "data"));
  assert.is(ask(Uint8Array.of(0xff)), "done");
  assert.is(ask(new Uint8Array()), "done");
  assert.is(ask(new Uint8Array(recordRequestMaxBytes + 1)), "reset");
  assert.equal([own.size, clock.waiting], [0, 0]);
});

test("who may not ask is refused, and reset once a rule forbids it while the question is open", () => {
  const denied = new Set(["never"]);
  const { own, session, open, ask } = publishing({
    refuses: (act, { peer }) => act === "kad.query" && denied.has(peer),
  });
  own.put(recordOf(1, "data"));
  assert.is(ask(question("data"), "never"), "reset");
  const [first, second] = [open("first"), open("second")];
  denied.add("first");
  own.rulesChanged();
  session.clock.pass(0);
  assert.equal([first.pair.a.how, second.pair.a.how, own.size], ["reset", undefined, 1]);
});

test("whose certificate stopped to count while the question arrived gets no byte", () => {
  const { own, session, open } = publishing();
  own.put(recordOf(1, "data"));
  const { pair, came } = open();
  session.connections.clear();
  pair.a.end(question("data"));
  session.clock.pass(0);
  assert.equal([came, pair.a.how], [[], "done"]);
});

test("so many questions are open at once, each for so long, and none after the stop", () => {
  const { own, clock, open, ask } = publishing();
  own.put(recordOf(1, "data"));
  const opened = Array.from({ length: recordQuestionsMax }, () => open());
  assert.is(own.size, recordQuestionsMax);
  assert.is(open().pair.a.how, "reset");
  clock.pass(recordQuestionMaxMs);
  assert.equal([own.size, clock.waiting, opened[0]?.pair.a.how], [0, 0, "reset"]);
  const { pair } = open();
  own.stop();
  clock.pass(0);
  assert.equal([own.size, pair.a.how], [0, "reset"]);
  assert.is(ask(question("data")), "reset");
});

test.run();
