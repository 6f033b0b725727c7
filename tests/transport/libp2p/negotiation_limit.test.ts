import { suite } from "uvu";
import * as assert from "uvu/assert";
import { limitNegotiation, negotiationAnswersMax } from "../../../transport/libp2p/negotiation_limit.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("limitNegotiation()");
const answer = Uint8Array.of(1);

function limited() {
  const stream = new WrittenStream();
  const { send } = stream;
  const state = { over: false };
  const exceeded: string[] = [];
  limitNegotiation(stream.stream, () => state.over, (detail) => exceeded.push(detail));
  return { stream, send, state, exceeded };
}

test("the limit is 16 answers", () => assert.is(negotiationAnswersMax, 16));

test("so many answers are sent; in place of the next one it says how many there were, and is gone", () => {
  const { stream, send, exceeded } = limited();
  for (let count = 0; count < negotiationAnswersMax; count++) stream.send(answer);
  assert.equal(exceeded, []);
  assert.throws(() => stream.send(answer), /given up/);
  assert.equal(exceeded, ["it proposed 16 times without agreeing on a protocol"]);
  assert.is(stream.sent.length, negotiationAnswersMax);
  assert.is(stream.send, send);
});

test("what is sent once the negotiation is over does not count", () => {
  const { stream, send, state, exceeded } = limited();
  for (let count = 0; count < negotiationAnswersMax; count++) stream.send(answer);
  state.over = true;
  for (let count = 0; count < negotiationAnswersMax; count++) stream.send(answer);
  assert.equal([exceeded.length, stream.sent.length], [0, 2 * negotiationAnswersMax]);
  assert.is(stream.send, send);
});

test.run();
