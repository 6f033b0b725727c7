/** A request of a peer, from its first byte to its end: whatever comes out of turn changes nothing. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ReadBudgets } from "../../../transport/core/held_bytes.ts";
import { exchangeMaxMs, ReceivedRequest } from "../../../transport/core/received_request.ts";
import type { WireStream } from "../../../transport/core/wire.ts";
import { requestMaxBytes } from "../../../transport/protocols/mod.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("ReceivedRequest");
const bytes = (...values: number[]) => Uint8Array.from(values);

/** A request whose owner notes what it is told. `take` is what it was given when the request had arrived. */
function received() {
  const clock = new ManualClock();
  const budgets = new ReadBudgets();
  const log: string[] = [];
  const takes: (() => void)[] = [];
  const stream = {
    end: (sent?: Uint8Array) => log.push(`end ${sent}`),
    abort: (detail: string) => log.push(`abort ${detail}`),
  } as unknown as WireStream;
  const request = new ReceivedRequest({
    protocol: "/hypha-health/0.0.1",
    stream,
    clock,
    held: budgets.of("peer", () => {}),
    arrived: (sizeBytes, take) => {
      log.push(`arrived ${sizeBytes}`);
      takes.push(take);
    },
    whole: (whole) => log.push(`whole ${whole}`),
    tooLarge: () => log.push("too large"),
    over: () => log.push("over"),
  });
  return { clock, budgets, log, request, take: () => takes[0]?.() };
}

test("it arrives, is taken at its turn, and is answered once; what comes out of turn changes nothing", () => {
  const { clock, budgets, log, request, take } = received();
  request.answer(bytes(9));
  request.data(bytes(1));
  request.data(bytes(2, 3));
  assert.is(budgets.counts.bytes, 3);
  request.ended();
  request.ended();
  request.data(bytes(4));
  take();
  request.answer(bytes(5));
  request.answer(bytes(6));
  request.closed();
  request.closed();
  assert.equal(log, ["arrived 3", "whole 1,2,3", "end 5", "over"]);
  assert.equal([clock.waiting, budgets.counts.bytes], [0, 0]);
});

test("one that is over is not taken, answered, reset or too large again", () => {
  const { clock, budgets, log, request, take } = received();
  request.data(bytes(1));
  request.ended();
  request.abort("enough");
  take();
  request.answer(bytes(1));
  request.abort("again");
  request.tooLarge("later");
  request.closed();
  assert.equal(log, ["arrived 1", "abort enough", "over"]);
  assert.equal([clock.waiting, budgets.counts.bytes], [0, 0]);
});

test("one that is too large is reset, and holds nothing", () => {
  const { budgets, log, request } = received();
  request.data(new Uint8Array(requestMaxBytes));
  request.data(bytes(1));
  request.ended();
  assert.is(log.filter((line) => line === "too large").length, 1);
  assert.equal([log.at(-1), log.some((line) => line.startsWith("arrived")), budgets.counts.bytes], ["over", false, 0]);
});

test("it is reset when its time is over; an answer on its way has as long once more", () => {
  const unanswered = received();
  unanswered.request.ended();
  unanswered.clock.pass(exchangeMaxMs - 1);
  assert.equal(unanswered.log, ["arrived 0"]);
  unanswered.clock.pass(1);
  assert.equal(unanswered.log.slice(1), ["abort not answered in time", "over"]);
  const answered = received();
  answered.request.ended();
  answered.take();
  answered.request.answer();
  answered.clock.pass(2 * exchangeMaxMs - 1);
  assert.is(answered.log.at(-1), "end undefined");
  answered.clock.pass(1);
  assert.equal(answered.log.slice(-2), ["abort not answered in time", "over"]);
});

test.run();
