import { suite } from "uvu";
import * as assert from "uvu/assert";
import { realClock } from "../../../transport/libp2p/real_clock.ts";

const test = suite("realClock()");

test("wall time is what it is given; deadlines do not follow it", () => {
  let now = 1_000;
  const clock = realClock(() => now);
  const began = clock.monotonic();
  now = -5_000;
  assert.is(clock.now(), -5_000);
  const passed = clock.monotonic() - began;
  assert.ok(passed >= 0 && passed < 1_000, String(passed));
});

test("a timer fires once after its delay; one that was cancelled never does", async () => {
  const clock = realClock(Date.now);
  const began = clock.monotonic();
  let cancelled = 0;
  clock.cancel(clock.after(1, () => cancelled++));
  const passed = await new Promise<number>((resolve) => {
    const timer = clock.after(20, () => {
      clock.cancel(timer); // it has fired: ignored
      clock.cancel(undefined);
      resolve(clock.monotonic() - began);
    });
  });
  assert.ok(passed >= 15, String(passed));
  assert.is(cancelled, 0);
});

test("soon runs after the call and before any timer, yield after what waits", async () => {
  const clock = realClock(Date.now);
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    clock.yield(() => {
      order.push("yield");
      resolve();
    });
    clock.soon(() => order.push("soon"));
    order.push("call");
  });
  assert.equal(order, ["call", "soon", "yield"]);
});

test.run();
