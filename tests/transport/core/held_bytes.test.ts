/** What a peer's streams hold together, and which of them is reset where that is too much. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { heldBytesHigh, heldBytesMax, ReadBudgets } from "../../../transport/core/held_bytes.ts";

const test = suite("ReadBudgets");

function opened(budgets: ReadBudgets, peer: string) {
  const reset: string[] = [];
  return { held: budgets.of(peer, (detail) => reset.push(detail)), reset };
}

test("beyond the limit the newest stream that holds something is reset, whichever of them grows", () => {
  const budgets = new ReadBudgets();
  const [old, middle, newest, idle] = Array.from({ length: 4 }, () => opened(budgets, "peer"));
  assert.ok(old!.held.set(heldBytesMax - 20) && middle!.held.set(10) && newest!.held.set(10));
  assert.is(old!.held.set(heldBytesMax - 19), true);
  assert.equal([old, middle, newest, idle].map((each) => each!.reset.length), [0, 0, 1, 0]);
  assert.equal(budgets.counts, { peers: 1, bytes: heldBytesMax - 9 });
  assert.is(idle!.held.set(10), false, "the newest is the one that grows");
  assert.equal([old, middle, newest, idle].map((each) => each!.reset.length), [0, 0, 1, 1]);
  assert.is(old!.held.set(heldBytesMax + 1), false, "alone it is too much");
  assert.equal([old, middle].map((each) => each!.reset.length), [1, 1]);
  assert.equal(budgets.counts, { peers: 0, bytes: 0 });
});

test("no more streams are reset than it takes, and one that was reset holds nothing any more", () => {
  const budgets = new ReadBudgets();
  const [old, middle, newest] = [opened(budgets, "peer"), opened(budgets, "peer"), opened(budgets, "peer")];
  assert.ok(old.held.set(heldBytesMax - 20) && middle.held.set(10) && newest.held.set(10));
  assert.ok(old.held.set(heldBytesMax - 10));
  assert.equal([old, middle, newest].map(({ reset }) => reset.length), [0, 0, 1]);
  newest.held.set(0);
  assert.equal(budgets.counts, { peers: 1, bytes: heldBytesMax });
  for (const { held } of [old, middle]) held.set(0);
  newest.held.set(1);
  assert.equal(budgets.counts, { peers: 1, bytes: 1 });
});

test("peers do not count for each other, and what is let go is not counted any more", () => {
  const budgets = new ReadBudgets();
  const [one, two] = [opened(budgets, "one"), opened(budgets, "two")];
  assert.equal([heldBytesMax, heldBytesHigh], [33_554_432, 16_777_216]);
  assert.equal([one.held.isHigh, one.held.set(heldBytesHigh), one.held.isHigh], [false, true, true]);
  assert.ok(one.held.set(heldBytesMax) && two.held.set(heldBytesMax));
  assert.ok(one.held.isHigh && two.held.isHigh);
  one.held.set(heldBytesHigh - 1);
  assert.equal([one.held.isHigh, two.held.isHigh], [false, true]);
  one.held.set(0);
  two.held.set(0);
  assert.equal([budgets.counts, one.reset, two.reset], [{ peers: 0, bytes: 0 }, [], []]);
});

test.run();
