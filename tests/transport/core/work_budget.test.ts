/** What a peer's work may cost, who comes next, and when a peer is too expensive. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { accountsMax, defaultWorkLimits, WorkBudgets, workSliceUs } from "../../../transport/core/work_budget.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("WorkBudgets");
const { burstUs, perSecondUs, delayMaxMs } = defaultWorkLimits;

function played() {
  const clock = new ManualClock();
  const expensive: string[] = [];
  const done: string[] = [];
  const budgets = new WorkBudgets({ clock, tooExpensive: (peer) => expensive.push(peer) });
  const run = (peer: string, us: number, name = peer, owner: object = {}) =>
    budgets.run(peer, owner, us, () => void done.push(name));
  return { clock, budgets, expensive, done, run };
}

test("work that a peer can afford is done at once; what goes beyond a turn waits for the next one", () => {
  const it = played();
  const turns: (() => void)[] = [];
  it.clock.yield = (task) => void turns.push(task);
  for (let each = 0; each < 5; each++) it.run("peer", workSliceUs / 2, `${each}`);
  assert.equal([it.done, turns.length], [["0", "1"], 1]);
  turns.shift()?.();
  assert.equal([it.done, turns.length], [["0", "1", "2", "3"], 1]);
  turns.shift()?.();
  assert.equal([it.done, turns.length], [["0", "1", "2", "3", "4"], 1]);
  turns.shift()?.();
  assert.equal([turns.length, it.budgets.counts.waiting], [0, 0]);
});

test("peers whose work waits come one after the other, however much one of them asks for", () => {
  const it = played();
  const turns: (() => void)[] = [];
  it.clock.yield = (task) => void turns.push(task);
  for (let each = 0; each < 4; each++) it.run("flood", workSliceUs, `flood ${each}`);
  it.run("honest", workSliceUs, "honest");
  while (turns.length > 0) turns.shift()?.();
  assert.equal(it.done, ["flood 0", "flood 1", "honest", "flood 2", "flood 3"]);
});

/** The budgets, with turns that a test gives. */
function playedInTurns() {
  const it = played();
  const turns: (() => void)[] = [];
  it.clock.yield = (task) => void turns.push(task);
  const takeTurn = () => {
    for (const turn of turns.splice(0)) turn();
    return it.done.splice(0);
  };
  return { ...it, takeTurn };
}

test("a turn has room while it has done less than its slice, the first one as each other", () => {
  const { run, takeTurn, done } = playedInTurns();
  for (let each = 0; each < 6; each++) run(`${each}`, each % 2 === 0 ? workSliceUs - 1 : 1);
  assert.equal(done.splice(0), ["0", "1"]);
  assert.equal(takeTurn(), ["2", "3"]);
  assert.equal(takeTurn(), ["4", "5"]);
});

test("work that comes while others wait for their turn comes after them", () => {
  const { run, takeTurn, budgets } = playedInTurns();
  run("first", workSliceUs);
  const done: string[] = [];
  budgets.run("a", {}, 1, () => {
    done.push("a");
    budgets.run("new", {}, 1, () => void done.push("new"));
  });
  budgets.run("b", {}, 1, () => void done.push("b"));
  takeTurn();
  assert.equal(done, ["a", "b", "new"]);
});

test("while a turn has room and nobody waits, work that comes in it is done at once", () => {
  const { run, takeTurn, budgets } = playedInTurns();
  run("first", workSliceUs);
  const done: string[] = [];
  const owner = {};
  budgets.run("a", {}, 1, () => {
    budgets.leave("given up", owner);
    budgets.run("new", {}, 1, () => void done.push("new"));
    done.push("a");
  });
  budgets.run("given up", owner, 1, () => void done.push("given up"));
  takeTurn();
  assert.equal(done, ["new", "a"]);
});

test("work that waits for its turn waits for no timer, and is not done after the end", () => {
  const { run, takeTurn, done, budgets, clock } = playedInTurns();
  run("first", workSliceUs);
  run("peer", 1, "one");
  budgets.charge("peer", burstUs);
  run("peer", 1, "two");
  assert.equal([clock.waiting, budgets.counts.waiting], [0, 2]);
  assert.equal(done.splice(0), ["first"]);
  budgets.stop();
  assert.equal(takeTurn(), []);
});

test("a peer's work is done in the order in which it came, also once it can afford all of it", () => {
  const it = played();
  it.budgets.charge("peer", burstUs);
  it.run("peer", 1, "one");
  it.budgets.refund("peer", burstUs);
  it.run("peer", 1, "two");
  assert.equal(it.done, []);
  it.clock.pass(1_000);
  assert.equal(it.done, ["one", "two"]);
});

test("what a peer was charged is told, less what was given back", () => {
  const { budgets } = played();
  assert.is(budgets.chargedUs("peer"), 0);
  budgets.charge("peer", 500);
  assert.is(budgets.chargedUs("peer"), 500);
  budgets.run("peer", {}, 20, () => {});
  budgets.refund("peer", 100);
  assert.is(budgets.chargedUs("peer"), 420);
});

test("a peer over its budget waits until it has been filled; another one does not", () => {
  const it = played();
  assert.is(it.budgets.charge("flood", burstUs - 1), 0);
  assert.ok(it.budgets.charge("flood", 1) > 0);
  it.run("flood", 100);
  it.run("honest", 100);
  assert.equal([it.done, it.budgets.counts.waiting], [["honest"], 1]);
  it.clock.pass(Math.ceil(workSliceUs / perSecondUs * 1_000) - 1);
  assert.equal(it.done, ["honest"]);
  it.clock.pass(1);
  assert.equal(it.done, ["honest", "flood"]);
});

test("a microsecond that is left is enough for a piece of work, nothing left is not", () => {
  const it = played();
  const perMs = perSecondUs / 1_000;
  it.budgets.charge("one left", burstUs + perMs - 1);
  it.budgets.charge("none left", burstUs + perMs);
  it.clock.pass(1);
  it.run("one left", 1);
  it.run("none left", 1);
  assert.equal(it.done, ["one left"]);
});

test("in the long run a peer gets a tenth of a core, over all that it does", () => {
  const it = played();
  const workUs = 400;
  const owners = Array.from({ length: 100 }, () => ({}));
  const again = (owner: object) =>
    it.budgets.run("flood", owner, workUs, () => {
      it.done.push("");
      it.clock.after(1, () => again(owner));
    });
  for (const owner of owners) again(owner);
  it.clock.pass(20_000);
  const doneUs = it.done.length * workUs;
  const allowedUs = burstUs + 20 * perSecondUs;
  assert.ok(doneUs <= allowedUs + 100 * workUs && doneUs >= 0.9 * allowedUs, `${doneUs} of ${allowedUs}`);
});

test("what was wanted is given back, and no more than a burst is ever left", () => {
  const it = played();
  it.budgets.charge("peer", burstUs);
  it.budgets.refund("peer", burstUs);
  it.budgets.refund("peer", burstUs);
  assert.is(it.budgets.charge("peer", burstUs - 1), 0);
  assert.ok(it.budgets.charge("peer", 2) > 0);
  it.budgets.charge("peer", burstUs);
  it.budgets.refund("peer", 1);
  assert.ok(it.budgets.charge("peer", 0) > 0, "no more than what is given back");
  it.budgets.refund("never seen", burstUs);
  assert.is(it.budgets.counts.peers, 1);
});

test("a debt is no longer than a burst", () => {
  const it = played();
  it.budgets.charge("peer", 1_000 * burstUs);
  it.clock.pass(burstUs / perSecondUs * 1_000);
  assert.ok(it.budgets.charge("peer", 0) > 0);
  it.clock.pass(1);
  assert.is(it.budgets.charge("peer", 0), 0);
});

test("a peer that is delayed for thirty seconds on end is too expensive, told once; one that rests between is not", () => {
  const it = played();
  const flood = (peer: string) => {
    while (it.budgets.charge(peer, workSliceUs) === 0);
  };
  for (let ms = 0; ms < delayMaxMs - 100; ms += 100) {
    flood("flood");
    it.clock.pass(100);
  }
  assert.equal(it.expensive, []);
  for (let ms = 0; ms < 1_000; ms += 100) {
    flood("flood");
    it.clock.pass(100);
  }
  assert.equal(it.expensive, ["flood"]);
  for (let round = 0; round < 4; round++) {
    for (let ms = 0; ms < delayMaxMs / 2; ms += 100) {
      flood("resting");
      it.clock.pass(100);
    }
    it.clock.pass(10_000);
  }
  assert.equal(it.expensive, ["flood"]);
});

test("a peer whose work waits for so long is too expensive, also where it sends nothing more", () => {
  const it = played();
  for (let each = 0; each < 200; each++) it.run("flood", 100_000);
  it.clock.pass(delayMaxMs + 2_000);
  assert.equal(it.expensive, ["flood"]);
});

test("work that is given up is not done, and leaves no timer", () => {
  const it = played();
  const [one, two] = [{}, {}];
  it.budgets.charge("peer", burstUs);
  it.run("peer", 100, "one", one);
  it.run("peer", 100, "two", two);
  it.budgets.leave("peer", one);
  it.budgets.leave("peer", one);
  assert.is(it.clock.waiting, 1);
  it.budgets.leave("peer", two);
  assert.is(it.clock.waiting, 0);
  it.clock.pass(60_000);
  assert.equal(it.done, []);
  it.budgets.charge("peer", 2 * burstUs);
  it.run("peer", 100, "three");
  it.clock.pass(60_000);
  assert.equal(it.done.splice(0), ["three"], "a timer that was cancelled is not waited for");
  it.budgets.charge("peer", 2 * burstUs);
  it.run("peer", 100);
  it.budgets.stop();
  assert.equal([it.clock.waiting, it.budgets.counts], [0, { peers: 0, waiting: 0 }]);
});

test("so many budgets are remembered and no more; a peer in debt is not forgotten for one that has rested", () => {
  const it = played();
  it.budgets.charge("debtor", 2 * burstUs);
  for (let each = 0; each < accountsMax + 100; each++) it.budgets.charge(`${each}`, 0);
  assert.is(it.budgets.counts.peers, accountsMax);
  assert.ok(it.budgets.charge("debtor", 0) > 0);
});

test("where every budget is overdrawn, the one that was looked at first is forgotten", () => {
  const it = played();
  for (let each = 0; each < accountsMax; each++) it.budgets.charge(`${each}`, 2 * burstUs);
  it.budgets.charge("one more", 1);
  assert.is(it.budgets.counts.peers, accountsMax);
  assert.equal(["0", "1", "one more"].map((peer) => it.budgets.chargedUs(peer)), [0, 2 * burstUs, 1]);
});

test("a budget that has filled up by now is forgotten before one that is overdrawn", () => {
  const it = played();
  for (const peer of ["debtor", "rested"]) it.budgets.charge(peer, burstUs);
  for (let each = 2; each < accountsMax; each++) it.budgets.charge(`${each}`, burstUs);
  it.clock.pass(burstUs / perSecondUs * 1_000);
  it.budgets.charge("debtor", burstUs);
  it.budgets.charge("one more", 1);
  assert.equal(["debtor", "rested", "2"].map((peer) => it.budgets.chargedUs(peer)), [2 * burstUs, 0, burstUs]);
});

test("where the work of all that are looked at waits, none is forgotten this time", () => {
  const it = played();
  for (let each = 0; each < 100; each++) {
    it.budgets.charge(`${each}`, burstUs);
    it.run(`${each}`, 1);
  }
  for (let each = 100; each < accountsMax; each++) it.budgets.charge(`${each}`, 0);
  it.budgets.charge("one more", 1);
  assert.is(it.budgets.counts.peers, accountsMax + 1);
  it.budgets.charge("another", 1);
  assert.is(it.budgets.counts.peers, accountsMax + 1);
});

test("a peer whose work waits is not forgotten, whatever its budget", () => {
  const it = played();
  for (const peer of ["debtor", "refunded"]) {
    it.budgets.charge(peer, 2 * burstUs);
    it.run(peer, 1);
  }
  it.budgets.refund("refunded", 3 * burstUs);
  for (let each = 2; each < accountsMax; each++) it.budgets.charge(`${each}`, 2 * burstUs);
  it.budgets.charge("one more", 1);
  assert.equal([it.budgets.counts.waiting, it.budgets.chargedUs("2")], [2, 0]);
});

test.run();
