/** A scheduler that bids highest and never accepts leaves offers for others. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Askers,
  askersMax,
  askingMs,
  offerShareMax,
  OfferShares,
  restLives,
  withAsked,
  withUnaccepted,
} from "../../actors/worker/offer_shares.ts";
import type { Resources } from "../../transport/protocols/messages.ts";
import { startWorker } from "../support/worker_world.ts";

const test = suite("OfferShares");
const amount = (cpu: number): Resources => ({ cpu, memory: 0, gpu: 0, storage: 0 });

function sharesOf(askers: Askers, { now = 0, out = [] as { to: string; resources: Resources }[] } = {}) {
  return new OfferShares({ askers, out, total: amount(8), now, lifeMs: 500 });
}
const asked = (...peers: string[]) => peers.reduce((askers, peer) => withAsked(askers, peer, 0), new Map() as Askers);

test("alone, a scheduler may have everything; while others ask, a quarter, open offers counted", () => {
  assert.equal([offerShareMax, restLives], [0.25, 3]);
  const alone = sharesOf(asked("a"));
  assert.equal([alone.take("a", amount(4)), alone.take("a", amount(4))], [true, true]);
  const both = sharesOf(asked("a", "b"), { out: [{ to: "a", resources: amount(1) }] });
  assert.equal([both.take("a", amount(1)), both.take("a", amount(0.1)), both.take("b", amount(2))], [
    true,
    false,
    true,
  ]);
});

test("others ask until five seconds after their last request", () => {
  const both = asked("a", "b");
  const takes = (now: number) => sharesOf(both, { now, out: [{ to: "a", resources: amount(2) }] }).take("a", amount(1));
  assert.equal([takes(askingMs - 1), takes(askingMs)], [false, true]);
});

test("an offer of more than a quarter goes out alone, and after one that was left unaccepted not before its rest is over", () => {
  const both = withUnaccepted(asked("a", "b"), "a", 1_000);
  const takes = (now: number) => sharesOf(both, { now }).take("a", amount(8));
  assert.equal([takes(1_000 + 3 * 500 - 1), takes(1_000 + 3 * 500)], [false, true]);
  assert.ok(sharesOf(both, { now: 1_000 }).take("a", amount(2)), "what is within the share needs no rest");
  assert.ok(sharesOf(both, { now: 1_000 }).take("b", amount(8)));
  assert.not(sharesOf(both, { now: 4_000, out: [{ to: "a", resources: amount(1) }] }).take("a", amount(8)));
  assert.is(withUnaccepted(both, "stranger", 0), both);
});

test("a bounded number of schedulers is remembered, those that ask no more are forgotten", () => {
  let askers: Askers = new Map();
  for (let peer = 0; peer <= askersMax; peer++) askers = withAsked(askers, `${peer}`, 0);
  assert.equal([askers.size, askers.has("0"), askers.has("1")], [askersMax, false, true]);
  assert.equal([...withAsked(askers, "late", askingMs).keys()], ["late"]);
});

for (const strategy of ["whole", "flexible"] as const) {
  test(`${strategy}: an honest scheduler gets offers although another outbids it each time and never accepts`, () => {
    for (const cpu of [1, 4]) {
      const { world, ask, offers } = startWorker(strategy);
      let honest = 0;
      for (let second = 0; second < 10; second++) {
        ask("starver", { bid: 1_000, cpu });
        world.pass(300);
        ask("honest", { bid: 10, cpu });
        world.pass(200);
        ask("starver", { bid: 1_000, cpu });
        world.pass(500);
        honest += offers().filter(({ to }) => to === "honest").length;
      }
      assert.ok(honest >= 4, `${honest} of 10 offers`);
    }
  });
}

test.run();
