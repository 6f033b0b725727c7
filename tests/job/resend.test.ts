/** Files that are sent again: which receivers get one, how often, and what becomes of it. */
import { Effect, Fiber } from "effect";
import * as TestClock from "effect/testing/TestClock";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sendOnce, sendUntilSaved, type Sent } from "../../actors/job/resend.ts";
import { type StreamHandle, type StreamProtocol, TransportError } from "../../transport/port.ts";
import { readAll, runOf, streamPair } from "../support/job_world.ts";

const test = suite("files that are sent again");
const limits = { fileBytesMax: 1_000, idleMs: 20 };
const file = {
  fd: 0,
  sizeBytes: 4,
  read: (into: Uint8Array, position: number) =>
    Effect.sync(() => {
      into.fill(7);
      return Math.min(into.length, 4 - position);
    }),
};
const cut: Sent = { cut: new TransportError({ code: "stream-reset", detail: "cut" }) };
const gone = new TransportError({ code: "not-connected", detail: "gone" });

/** Sends over a stream whose far end does this; undefined: it has reset the stream before the first byte. */
function sentTo(protocol: StreamProtocol, far?: (stream: StreamHandle) => Effect.Effect<unknown, TransportError>) {
  const pair = streamPair({ near: "me", far: "them" }, protocol);
  if (far === undefined) Effect.runSync(pair.far.abort("its head is late"));
  return runOf(
    Effect.map(
      Effect.all([Effect.result(sendOnce(file, pair.near, limits)), Effect.ignore(far?.(pair.far) ?? Effect.void)], {
        concurrency: 2,
      }),
      ([outcome]) => outcome._tag === "Success" ? outcome.success : outcome.failure.message,
    ),
  );
}

test("a receiver of ours that resets the stream did not save the file; one that does not answer may have it", async () => {
  const ours = "/hypha-tensor-stream/push/2";
  const reset = (stream: StreamHandle) => Effect.andThen(readAll(stream), stream.abort("not saved"));
  assert.is(await sentTo(ours, (stream) => Effect.andThen(readAll(stream), stream.end)), "sent");
  assert.is(await sentTo(ours, reset), "whole");
  assert.is(await sentTo(ours, readAll), "sent", "without an answer it is not sent again");
  const broken = await sentTo(ours);
  assert.ok(typeof broken === "object" && broken.cut.code === "stream-reset");
  const theirs = "/hypha-tensor-stream/push";
  assert.is(await sentTo(theirs, reset), "sent", "the existing network resets what it has");
  assert.match(String(await sentTo(theirs)), /stream-reset/);
});

/** What becomes of a file whose tries end so, and after how many of them; `undefined` is a failure. */
function after(...outcomes: readonly (Sent | undefined)[]) {
  let tries = 0;
  const next = Effect.suspend(() => {
    const outcome = outcomes[tries] ?? outcomes.at(-1);
    tries += 1;
    return outcome === undefined ? Effect.fail(gone) : Effect.succeed(outcome);
  });
  return runOf(Effect.provide(
    Effect.gen(function* () {
      const sending = yield* Effect.forkChild(Effect.result(sendUntilSaved(next, next)));
      yield* TestClock.adjust("5 minutes");
      const outcome = yield* Fiber.join(sending);
      return [outcome._tag === "Success" ? outcome.success : outcome.failure.detail, tries];
    }),
    TestClock.layer(),
  ));
}

test("a file is sent six times at most, and once where it arrived or its receiver cannot be reached", async () => {
  assert.equal(await after("sent"), ["saved", 1]);
  assert.equal(await after("whole", cut, "sent"), ["saved", 3]);
  assert.equal(await after("whole"), ["refused", 6]);
  assert.equal(await after(cut), ["cut", 6]);
  assert.equal(await after(cut, "whole", cut), ["refused", 6], "its receiver had all of it once");
  assert.equal(await after(undefined), ["gone", 1]);
  assert.equal(await after("whole", undefined), ["refused", 2]);
  assert.equal(await after(cut, undefined), ["cut", 2], "it never had all of it");
});

test.run();
