/** A scheduler that bids highest and never accepts leaves offers for others. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  leftUnaccepted,
  type Unaccepted,
  unacceptedMax,
  unacceptedMs,
  withUnaccepted,
} from "../../actors/worker/unaccepted.ts";
import { failedWith } from "../support/fake_transport.ts";
import type { WorkerOffer } from "../../transport/protocols/messages.ts";
import { startWorker } from "../support/worker_world.ts";

const test = suite("unaccepted offers");
const none: Unaccepted = new Map();

test("a scheduler that left an offer unaccepted is remembered for a minute after the last one", () => {
  const once = withUnaccepted(none, "a", 0);
  const left = (unaccepted: Unaccepted, now: number) => ["a", "b"].map((peer) => leftUnaccepted(unaccepted, peer, now));
  assert.equal([left(none, 0), left(once, unacceptedMs - 1), left(once, unacceptedMs)], [
    [false, false],
    [true, false],
    [false, false],
  ]);
  assert.equal(left(withUnaccepted(once, "a", 1), unacceptedMs), [true, false]);
});

test("a bounded number of schedulers is remembered, those of long ago are forgotten", () => {
  let many = none;
  for (let peer = 0; peer <= unacceptedMax; peer++) many = withUnaccepted(many, `${peer}`, 0);
  assert.equal([many.size, many.has("0"), many.has("1")], [unacceptedMax, false, true]);
  assert.equal([...withUnaccepted(many, "late", unacceptedMs).keys()], ["late"]);
});

/**
 * How many of ten requests of each honest scheduler got an offer within five seconds. It asks again 550 ms after its offer; hoarders ask
 * each 550 ms. All ask for the whole worker, and none accepts.
 */
function auction(
  strategy: "whole" | "flexible",
  { hoarders, honest }: { hoarders: number; honest: readonly string[] },
) {
  const { world, ask, offers } = startWorker(strategy);
  const bidders = Array.from({ length: hoarders }, (_, nth) => `hoarder-${nth}`);
  const players = honest.map((name) => ({ name, asked: 0, got: 0, request: "", next: 0 }));
  for (let at = 0; players.some(({ asked, next }) => asked < 10 || at < next); at += 50) {
    if (at % 550 === 0) { for (const name of bidders) ask(name, { bid: 1_000, cpu: 4 }); }
    for (const player of players) {
      if (at < player.next || player.asked === 10) continue;
      player.request = ask(player.name, { bid: 10, cpu: 4 });
      Object.assign(player, { asked: player.asked + 1, next: at + 5_000 });
    }
    world.pass(50);
    const served = new Set(
      offers().map(({ sent }) => (sent.message as { WorkerOffer: WorkerOffer }).WorkerOffer.request_id),
    );
    for (const player of players) {
      if (served.has(player.request)) Object.assign(player, { request: "", got: player.got + 1, next: at + 550 });
    }
  }
  return players.map(({ got }) => got);
}

for (const strategy of ["whole", "flexible"] as const) {
  test(`bug: schedulers that outbid all and never accept left an honest one 4 of 10 offers (${strategy})`, () => {
    for (const hoarders of [1, 3]) {
      const [offers = 0] = auction(strategy, { hoarders, honest: ["honest"] });
      assert.ok(offers >= 9, `${offers} of 10 offers beside ${hoarders}`);
    }
  });

  test(`two honest schedulers that cannot accept yet get their offers, alone and beside a hoarder (${strategy})`, () => {
    for (const hoarders of [0, 1]) {
      const offers = auction(strategy, { hoarders, honest: ["a", "b"] });
      assert.ok(offers.every((count) => count >= 9), `${offers} of 10 offers`);
    }
  });
}

test("a request that comes while all is offered gets its offer when that one is over, declined or not accepted", () => {
  for (const over of ["lapsed", "declined"] as const) {
    const { world, ask, offers } = startWorker("whole");
    ask("hoarder", { bid: 1_000 });
    world.pass(200);
    const [first] = offers();
    ask("honest");
    world.pass(290);
    assert.equal(offers(), []);
    const { id } = first!.sent;
    if (over === "declined") {
      first!.sent.replyTo.send({ type: "request.failed", id, error: failedWith("no-answer") });
      world.pass(10);
    } else world.pass(210);
    assert.equal(offers().map(({ to }) => to), ["honest"], over);
  }
});

test("of several offers of the same resources the first that is accepted counts; the others are told", () => {
  const { world, ask, offers, say, isRenewed } = startWorker("whole");
  for (const name of ["a", "b"]) {
    ask(name);
    world.pass(200 + 500);
  }
  offers();
  for (const name of ["a", "b"]) ask(name);
  world.pass(200);
  const [first, second] = offers();
  assert.equal([first?.to, second?.to], ["a", "b"]);
  assert.ok(isRenewed(say("b", { RenewLease: { id: second?.id ?? "" } })));
  assert.equal(say("a", { RenewLease: { id: first?.id ?? "" } }), { RenewLease: "Failed" });
});

test("an offer that reserves nothing is not accepted over one that does", () => {
  const { world, ask, offers, say, isRenewed } = startWorker("whole");
  ask("late");
  world.pass(200 + 500);
  ask("late");
  world.pass(200);
  const [, unreserved] = offers();
  ask("fresh", { bid: 5 });
  world.pass(200);
  const [reserved] = offers();
  assert.equal([unreserved?.to, reserved?.to], ["late", "fresh"], "an offer that reserves nothing is in no one's way");
  assert.equal(say("late", { RenewLease: { id: unreserved?.id ?? "" } }), { RenewLease: "Failed" });
  assert.ok(isRenewed(say("fresh", { RenewLease: { id: reserved?.id ?? "" } })));
});

test.run();
