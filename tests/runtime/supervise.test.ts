/** Root actors share no timers, and their names cost nothing more where there are many. */
import { setTimeout as pause } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { setup } from "xstate";
import { superviseRoot } from "../../actors/runtime/supervise.ts";

const test = suite("superviseRoot()");

/** Waits; ends after its time, or when it is told. */
const waiting = setup({}).createMachine({
  id: "waiting",
  initial: "waiting",
  states: {
    waiting: { after: { 30: "late" }, on: { leave: "left" } },
    late: { type: "final" },
    left: { type: "final" },
  },
});
const root = (options = {}) =>
  superviseRoot(waiting, {
    id: "w",
    input: {},
    onError: (error: unknown) => assert.unreachable(String(error)),
    ...options,
  });

test("bug: V8 had a class of objects for the timers of each gate, and a handshake took longer by 3 %", () => {
  assert.is(new Set([root(), root(), root()].map(({ sessionId }) => sessionId)).size, 1);
});

test("roots whose actors are inspected have numbers of their own", () => {
  const inspect = () => {};
  assert.is(new Set([root({ inspect }), root({ inspect })].map(({ sessionId }) => sessionId)).size, 2);
});

test("a root that leaves its state, or is stopped, takes no timer of another with it", async () => {
  const [left, stopped, stays] = [root(), root(), root()];
  left.send({ type: "leave" });
  stopped.stop();
  await pause(100);
  assert.equal([left, stopped, stays].map((actor) => actor.getSnapshot().value), ["left", "waiting", "late"]);
});

test.run();
