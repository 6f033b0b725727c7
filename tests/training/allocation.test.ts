/** Allocation: request, offers, acceptance, until there are as many workers as needed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { allocationMachine, offersInMs } from "../../actors/training/allocation.ts";
import { offersMax } from "../../actors/training/offers.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import { memberOf } from "../../pki/member.ts";
import { failedWith, type FakeWorld, identityOf, makeFakeWorld, startUnderParent } from "../support/fake_transport.ts";

const test = suite("allocation");
const wanted = { cpu: 1, gpu: 0, memory: 0, storage: 0 };

function allocate(count: number, excluded: readonly string[] = [], least?: number) {
  const world = makeFakeWorld();
  const allocation = startUnderParent(world, allocationMachine, {
    descriptor: { class: "train", name: "diloco-transformer" },
    count,
    least,
    resources: wanted,
    price: { bid: 20, max: 100 },
    excluded,
    transport: world.transport,
    ports: world.ports,
  });
  let offers = 0;
  const offer = (peer: string, price: number, request: string) => {
    const id = `offer-${++offers}`;
    allocation.send({
      type: "offer.received",
      exchange: `x-${id}`,
      peer,
      member: memberOf(identityOf(peer)),
      isUnreliable: ungranted().some(([other]) => other === peer),
      offer: { id, request_id: request, price, resources: wanted, timeout: instantFromMs(0) },
    });
    return id;
  };
  const granted = () =>
    allocation.said.filter(({ type }) => type === "allocation.granted").map((said) =>
      (said as unknown as { lease: { peer: string } }).lease.peer
    );
  const ungranted = () =>
    allocation.said.filter(({ type }) => type === "allocation.ungranted").map((said) => {
      const { peer, how } = said as unknown as { peer: string; how: string };
      return [peer, how];
    });
  const served = () => allocation.said.some(({ type }) => type === "allocation.served");
  return { world, allocation, offer, granted, ungranted, served };
}

/** Answers every acceptance that waits. */
function accept(world: FakeWorld, refuse: readonly string[] = []): string[] {
  return world.take("request").map((ask) => {
    const { id } = (ask.message as { RenewLease: { id: string } }).RenewLease;
    const message = refuse.includes(ask.peer)
      ? { RenewLease: "Failed" as const }
      : { RenewLease: { Renewed: { id, timeout: instantFromMs(world.ports.now() + 10_000) } } };
    ask.replyTo.send({ type: "response", id: ask.id, message });
    return ask.peer;
  });
}

test("accepts at once when there are enough, the cheapest first", () => {
  const { world, offer, granted, served } = allocate(2);
  const { message } = world.takeOne("publish");
  assert.equal(message.spec, { resources: wanted, executor: [{ class: "train", name: "diloco-transformer" }] });
  assert.is(message.bid, 20);
  offer("a", 30, message.id);
  assert.is(world.take("request").length, 0, "one is not enough");
  offer("b", 20, message.id);
  assert.equal(accept(world), ["b", "a"]);
  assert.equal(granted(), ["b", "a"]);
  assert.ok(served());
  assert.is(world.take("respond").length, 2, "each offer is answered");
});

test("where fewer are enough, those that answer the second request are taken, and no lease that is still being granted is left", () => {
  const { world, offer, granted, served } = allocate(3, [], 1);
  const first = world.takeOne("publish");
  offer("a", 10, first.message.id);
  world.pass(900);
  assert.is(world.take("request").length, 0, "all are waited for once");
  world.pass(100);
  const second = world.takeOne("publish");
  offer("a", 10, second.message.id);
  offer("b", 11, second.message.id);
  assert.is(world.take("request").length, 0);
  world.pass(offersInMs);
  const [one, two] = world.take("request");
  const grant = (ask: typeof one) => {
    const { id } = (ask?.message as { RenewLease: { id: string } }).RenewLease;
    const timeout = instantFromMs(world.ports.now() + 10_000);
    ask?.replyTo.send({ type: "response", id: ask.id, message: { RenewLease: { Renewed: { id, timeout } } } });
  };
  grant(one);
  assert.equal([granted(), served()], [["a"], false]);
  grant(two);
  assert.equal([granted(), served()], [["a", "b"], true]);
});

test("where fewer are enough, and not even those are there, it asks on", () => {
  const { world, offer, served } = allocate(3, [], 2);
  for (let second = 0; second < 3; second++) {
    offer("a", 10, world.takeOne("publish").message.id);
    world.pass(1_000);
  }
  assert.equal([world.take("request").length, served()], [0, false]);
});

test("an offer over the private maximum is answered all the same, and passed over", () => {
  const { world, offer } = allocate(1);
  const { message } = world.takeOne("publish");
  offer("a", 100.01, message.id);
  assert.is(world.takeOne("respond").type, "respond");
  assert.is(world.take("request").length, 0);
  offer("b", 100, message.id);
  assert.is(world.takeOne("request").peer, "b");
});

test("an offer for no request is declined, an excluded worker's is not taken, and one peer is not taken twice", () => {
  const { world, offer } = allocate(2, ["a"]);
  const { message } = world.takeOne("publish");
  offer("b", 1, "someone else's request");
  assert.is(world.take("decline").length, 1);
  offer("a", 1, message.id);
  offer("b", 2, message.id);
  offer("b", 3, message.id);
  assert.is(world.take("request").length, 0, "two peers are wanted");
  offer("c", 50, message.id);
  assert.equal(world.take("request").map(({ peer }) => peer), ["b", "c"]);
});

test("bug: one worker's 1,024 offers pushed those of all others out", () => {
  const { world, offer } = allocate(3);
  const { message } = world.takeOne("publish");
  offer("a", 10, message.id);
  offer("b", 11, message.id);
  for (let more = 0; more < offersMax; more++) offer("liar", 100.01, message.id);
  offer("c", 12, message.id);
  assert.equal(world.take("request").map(({ peer }) => peer), ["a", "b", "c"]);
});

test("asks again each second while there are too few, and says so each five", () => {
  const { world, offer } = allocate(2);
  const first = world.takeOne("publish");
  first.replyTo.send({ type: "publish.failed", id: first.id, error: failedWith("not-connected") });
  offer("a", 10, first.message.id);
  world.pass(4_990);
  assert.is(world.take("publish").length, 4);
  assert.is(world.reported("allocation.short").length, 0);
  world.pass(20);
  assert.equal(world.reported("allocation.short").map(({ have, needed }) => [have, needed]), [[0, 2]]);
});

test("an offer that is about to lapse is not accepted", () => {
  const { world, offer } = allocate(2);
  const { message } = world.takeOne("publish");
  offer("a", 10, message.id);
  world.pass(390);
  offer("b", 10, message.id);
  assert.is(world.take("request").length, 2, "400 ms are inside");
  const late = allocate(2);
  const request = late.world.takeOne("publish").message.id;
  late.offer("a", 10, request);
  late.world.pass(400);
  late.offer("b", 10, request);
  assert.is(late.world.take("request").length, 0);
});

test("a worker that refuses is replaced by another; what was granted is kept", () => {
  const { world, offer, granted, served } = allocate(2);
  const { message } = world.takeOne("publish");
  offer("a", 1, message.id);
  offer("b", 2, message.id);
  accept(world, ["b"]);
  assert.equal(granted(), ["a"]);
  assert.not(served());
  world.pass(1_000);
  const again = world.takeOne("publish").message.id;
  offer("a", 1, again);
  assert.is(world.take("request").length, 0, "it has a lease already");
  offer("c", 3, again);
  assert.equal(accept(world), ["c"]);
  assert.equal(granted(), ["a", "c"]);
  assert.ok(served());
});

test("an acceptance that is never answered doesn't hold it up", () => {
  const { world, offer, served } = allocate(1);
  offer("a", 1, world.takeOne("publish").message.id);
  assert.is(world.take("request").length, 1);
  world.pass(4_010);
  offer("b", 1, world.take("publish").at(-1)?.message.id ?? "");
  assert.equal(accept(world), ["b"]);
  assert.ok(served());
});

for (const answer of ["refuses late", "never answers"] as const) {
  test(`bug: a worker that offered for nothing at once, and ${answer}, kept all others out`, () => {
    const { world, offer, granted, ungranted } = allocate(1);
    for (let passed = 0; passed < 20_000 && granted().length === 0; passed += 100) {
      const request = world.take("publish").at(-1)?.message.id;
      if (request !== undefined) {
        offer("liar", 0, request);
        world.pass(200); // others collect requests before they offer
        offer("b", 10, request);
      }
      for (const { id, peer, message, replyTo } of world.take("request")) {
        if (peer === "liar") {
          world.pass(700);
          if (answer === "refuses late") replyTo.send({ type: "response", id, message: { RenewLease: "Failed" } });
        } else {
          const lease = (message as { RenewLease: { id: string } }).RenewLease;
          const timeout = instantFromMs(world.ports.now() + 10_000);
          replyTo.send({ type: "response", id, message: { RenewLease: { Renewed: { ...lease, timeout } } } });
        }
      }
      world.pass(100);
    }
    assert.equal(granted(), ["b"]);
    assert.equal(ungranted(), [["liar", "unanswered"]]);
  });
}

test("a worker that refused is taken where too few others offer, once a request, and named where too few are left", () => {
  const { world, offer, granted, ungranted, served } = allocate(1);
  const first = world.takeOne("publish").message.id;
  offer("a", 1, first);
  accept(world, ["a"]);
  assert.equal(ungranted(), [["a", "refused"]]);
  offer("a", 1, first);
  world.pass(offersInMs);
  assert.is(world.take("request").length, 0, "it refused this request");
  world.pass(5_000);
  const [short] = world.reported("allocation.short");
  assert.equal(short?.["refusing"], ["a"]);
  world.take("publish");
  let [again] = world.take("publish");
  for (; again === undefined; [again] = world.take("publish")) world.pass(50);
  offer("a", 1, again.message.id);
  assert.is(world.take("request").length, 0, "others may offer yet");
  world.pass(offersInMs);
  assert.equal(accept(world), ["a"]);
  assert.equal([granted(), served()], [["a"], true]);
});

test("a worker that refused and offers late is taken at once", () => {
  const { world, offer, served } = allocate(1);
  offer("a", 1, world.takeOne("publish").message.id);
  accept(world, ["a"]);
  world.pass(1_000);
  world.pass(offersInMs);
  offer("a", 1, world.takeOne("publish").message.id);
  assert.equal(accept(world), ["a"]);
  assert.ok(served());
});

test("nothing to allocate is served at once", () => {
  assert.ok(allocate(0).served());
});

test.run();
