/** Tasks of virtual time: what is done soon, and in which order. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { NodeClock } from "../../actors/simulation/node_clock.ts";
import { soonMax, VirtualTime } from "../../actors/simulation/virtual_time.ts";

const test = suite("VirtualTime");

test("what is wanted soon is done at the end of the step, in order, before anything else that is due", () => {
  const time = new VirtualTime(0);
  const done: string[] = [];
  time.schedule(5, () => {
    time.soon(() => {
      done.push("soon");
      time.soon(() => done.push("soon after"));
    });
    time.soon(() => done.push("too"));
    done.push("first");
  });
  time.schedule(5, () => done.push("second"));
  assert.ok(time.step(10));
  assert.equal([done, time.now], [["first", "soon", "too", "soon after"], 5]);
  time.runTo(10);
  assert.equal(done.at(-1), "second");
});

test("outside of a step it is done at the beginning of the next, also where nothing is due", () => {
  const time = new VirtualTime(0);
  let done = 0;
  time.soon(() => done++);
  assert.is(done, 0);
  assert.equal([time.step(0), done, time.step(0)], [true, 1, false]);
  time.schedule(50, () => {});
  time.soon(() => done++);
  assert.equal([time.step(0), done, time.now], [true, 2, 0]);
});

test("a chain that never ends is an error, and one that throws holds up no other", () => {
  const endless = new VirtualTime(0);
  let count = 0;
  const again = () => {
    count += 1;
    endless.soon(again);
  };
  endless.soon(again);
  assert.throws(() => endless.step(0), /done soon/);
  assert.is(count, soonMax);
  const time = new VirtualTime(0);
  let done = 0;
  time.soon(() => {
    throw new Error("mine");
  });
  time.soon(() => done++);
  assert.throws(() => time.step(0), /mine/);
  assert.equal([time.step(0), done], [true, 1]);
});

test("a process that has ended does nothing any more, however soon", () => {
  const time = new VirtualTime(0);
  const clock = new NodeClock(time, 500);
  const done: string[] = [];
  clock.soon(() => done.push("soon"));
  clock.yield(() => done.push("yield"));
  clock.after(1, () => done.push("after"));
  clock.cancel(undefined);
  clock.stop();
  time.runTo(10);
  assert.equal([done, clock.now(), clock.monotonic()], [[], 510, 10]);
});

test.run();
