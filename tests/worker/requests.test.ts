/** Whom a worker offers itself to, and which offers a scheduler takes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backoffMs } from "../../actors/runtime/backoff.ts";
import { chooseOffers } from "../../actors/training/offers.ts";
import { type OfferTerms, planOffers, requestWaitMs, waitingRequests } from "../../actors/worker/requests.ts";
import { fitsResources, pricePerUnit, weighResources } from "../../actors/worker/resources.ts";
import { instantFromMs, msFromInstant } from "../../actors/runtime/instant.ts";
import { memberOf } from "../../pki/member.ts";
import type { Resources, WorkerRequest } from "../../transport/protocols/messages.ts";
import { identityOf } from "../support/fake_transport.ts";

const test = suite("choosing");

const amount = (cpu: number, memory = 0): Resources => ({ cpu, memory, gpu: 0, storage: 0 });

const free = (cpu: number, leases = 9) => ({ resources: amount(cpu), leases });

function request(bid: number, cpu: number, name = "diloco-transformer"): WorkerRequest {
  return {
    id: "00000000-0000-4000-8000-000000000001",
    spec: { resources: amount(cpu), executor: [{ class: "train", name }] },
    timeout: instantFromMs(0),
    bid,
  };
}

function terms(strategy: "whole" | "flexible", more: { price?: number; floor?: number } = {}): OfferTerms {
  return {
    resources: amount(4),
    offer: { price: 10, floor: 5, strategy, ...more },
    executors: [{ class: "train", name: "diloco-transformer", runtime: "process", cmd: "true", args: [] }],
  } as OfferTerms;
}

test("resources: what is exactly there fits, a hair more does not, nonsense never does", () => {
  assert.ok(fitsResources(amount(4), amount(4)));
  assert.not(fitsResources(amount(4.001), amount(4)));
  assert.ok(fitsResources(amount(0.3), amount(0.1 + 0.2)));
  assert.not(fitsResources(amount(-1), amount(4)));
  assert.not(fitsResources(amount(Number.NaN), amount(4)));
});

test("prices are compared by weighted units", () => {
  assert.is(weighResources({ cpu: 1, gpu: 1, memory: 10, storage: 100 }), 28);
  assert.is(pricePerUnit(28, { cpu: 1, gpu: 1, memory: 10, storage: 100 }), 1);
  assert.is(pricePerUnit(1, amount(0)), Number.POSITIVE_INFINITY);
});

test("flexible: the best bid first, and nothing is promised twice", () => {
  const window = [{ from: "a", request: request(6, 3), at: 0 }, { from: "b", request: request(9, 3), at: 0 }];
  const planned = planOffers(window, free(4), terms("flexible"));
  assert.equal(planned.map(({ to, price }) => [to, price]), [["b", 9]]);
  const both = planOffers(
    [{ from: "a", request: request(6, 2), at: 0 }, { from: "b", request: request(9, 2), at: 0 }],
    free(4),
    terms("flexible"),
  );
  assert.equal(both.map(({ to }) => to), ["b", "a"]);
});

test("whole: everything, at the better of bid and price, or nothing", () => {
  const [offer] = planOffers(
    [{ from: "a", request: request(6, 1), at: 0 }],
    free(4),
    terms("whole"),
  );
  assert.equal([offer?.resources.cpu, offer?.price], [4, 10]);
  const [dear] = planOffers(
    [{ from: "a", request: request(12, 1), at: 0 }],
    free(4),
    terms("whole"),
  );
  assert.is(dear?.price, 12);
  assert.equal(
    planOffers([{ from: "a", request: request(6, 1), at: 0 }], free(3.9), terms("whole")),
    [],
  );
});

test("bug: a request for nothing ranked first, and got a whole worker", () => {
  const first = (strategy: "whole" | "flexible", bid: number, cpu: number, other = 9) => {
    const window = [
      { from: "a", request: request(bid, cpu), at: 0 },
      { from: "b", request: request(other, 4), at: 0 },
    ];
    return planOffers(window, free(4, 1), terms(strategy, { floor: 0 })).map(({ to }) => to);
  };
  for (const strategy of ["whole", "flexible"] as const) {
    assert.equal(first(strategy, 100, 0), ["b"]);
    assert.equal(first(strategy, 0, 0, 0), ["b"]);
    assert.equal(first(strategy, 100, 0, -1), ["a"], "it comes last and is not left out");
  }
  assert.equal(first("whole", 8, 0.001), ["b"], "the whole worker goes to the highest bid");
  assert.equal(first("whole", 10, 0.001), ["a"]);
});

test("a bid at the floor is served, one under it not; nor is an executor that isn't here, nor too much", () => {
  const planned = (asked: WorkerRequest) =>
    planOffers([{ from: "a", request: asked, at: 0 }], free(4), terms("flexible")).length;
  assert.is(planned(request(5, 1)), 1);
  assert.is(planned(request(4.99, 1)), 0);
  assert.is(planned(request(5, 1, "other")), 0);
  assert.is(planned(request(5, 4.5)), 0);
  assert.is(planned({ ...request(5, 1), spec: { resources: amount(1), executor: [] } }), 0);
});

test("a scheduler that left an offer unaccepted comes last, and its offer reserves nothing", () => {
  const asked: readonly [string, number, number][] = [["late", 100, 2], ["later", 90, 2], ["b", 9, 1], ["a", 6, 1], [
    "c",
    9,
    3,
  ]];
  const window = asked.map(([from, bid, cpu]) => ({ from, request: request(bid, cpu), at: 0 }));
  const planned = planOffers(
    window,
    free(4),
    terms("flexible"),
    (peer) => peer.startsWith("late"),
  );
  assert.equal(planned.map(({ to, reserves }) => [to, reserves]), [
    ["b", true],
    ["a", true],
    ["late", false],
    ["later", false],
  ]);
});

test("the newest request of a scheduler without an open offer waits where open offers are in its way, for 4.5 s", () => {
  const asked: readonly [string, number, number][] = [["a", 2, 1], ["a", 2, 2], ["b", 4, 3], ["c", 2, 4], [
    "d",
    2,
    -requestWaitMs + 4,
  ]];
  const requests = asked.map(([from, cpu, at]) => ({ from, request: request(5, cpu), at }));
  const waiting = (unleased: number) =>
    waitingRequests(
      requests,
      { offers: [{ to: "c" }], unleased: free(unleased), now: 4 },
      terms("flexible"),
    );
  assert.equal(waiting(4).map(({ from, at }) => [from, at]), [["a", 2], ["b", 3]]);
  assert.equal(waiting(3).map(({ from }) => from), ["a"], "no lease is waited for");
});

test("offers: lowest price a unit first, one a peer, none over the maximum, none of less than was wanted", () => {
  const offer = (from: string, price: number, cpu: number, isUnreliable = false) => ({
    from,
    member: memberOf(identityOf(from, "worker")),
    at: 0,
    isUnreliable,
    offer: { id: `${from}-${price}`, request_id: "r", price, resources: amount(cpu), timeout: instantFromMs(0) },
  });
  const criteria = { wanted: amount(1), priceMax: 10, count: 2, excluded: new Set(["d"]) };
  const chosen = chooseOffers(
    [offer("a", 10, 1), offer("b", 8, 2), offer("a", 9, 1), offer("c", 10.01, 8), offer("d", 1, 1), offer("e", 1, 0.5)],
    criteria,
  );
  assert.equal(chosen.map(({ from, offer: { price } }) => [from, price]), [["b", 8], ["a", 9]]);
  const unreliable = [offer("f", 0, 1, true), offer("a", 10, 1), offer("g", 1, 1, true)];
  assert.equal(chooseOffers(unreliable, criteria).map(({ from }) => from), ["a", "f"], "unreliable ones last");
  const odd = [offer("a", Number.NaN, 1), offer("b", -1, 1)];
  assert.equal(chooseOffers(odd, criteria), [], "a price has to be a number of 0 or more");
});

test("backoff doubles up to its maximum, with jitter over the upper half", () => {
  const backoff = { firstMs: 100, maxMs: 1_000 };
  assert.equal([1, 2, 3, 4, 5, 99].map((failures) => backoffMs(failures, 0, backoff)), [50, 100, 200, 400, 500, 500]);
  assert.is(backoffMs(1, 0.999_999, backoff), 100);
  assert.is(backoffMs(0, 0, backoff), 50);
});

test("instants keep milliseconds both ways", () => {
  assert.equal(instantFromMs(1_764_000_000_123), { secs_since_epoch: 1_764_000_000, nanos_since_epoch: 123_000_000 });
  assert.is(msFromInstant({ secs_since_epoch: 1, nanos_since_epoch: 999_999_999 }), 1_999);
});

test.run();
