import { Effect, Exit, Fiber, Option } from "effect";
import * as TestClock from "effect/testing/TestClock";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { relayTriesMax, untilRelayHasRoom } from "../../actors/job/busy_relay.ts";
import { makeJobNetworkHost } from "../../actors/job/job_network.ts";
import { type StreamHandle, type TransportAsk, TransportError, type TransportFact } from "../../transport/port.ts";
import { refusalOfDialError } from "../../transport/libp2p/dial_refusal.ts";
import { failureOf, holdOpen, realPorts, runOf, streamPair } from "../support/job_world.ts";

const alice = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const bob = "12D3KooWCofsHFCiPAZDDo4ZcRkzUZEkhuz3awyU9iHkhvf6LQPH";

/** A transport that keeps what it is asked; a test answers. */
function host() {
  const asked: TransportAsk[] = [];
  let ids = 0;
  const made = makeJobNetworkHost({ send: (ask) => void asked.push(ask) }, {
    ...realPorts(),
    uuid: () => `id-${ids++}`,
  });
  const last = <T extends TransportAsk["type"]>(type: T) => {
    const found = asked.findLast((ask) => ask.type === type);
    if (found === undefined) throw new Error(`Cannot find ask: ${type}`);
    return found as Extract<TransportAsk, { type: T }>;
  };
  const push = (peer: string, exchange: string) => {
    const fact = { type: "stream.received", exchange, peer, protocol: "/hypha-tensor-stream/push" };
    made.offer(fact as Extract<TransportFact, { type: "stream.received" }>);
  };
  const accept = (peer: string, exchange: string): StreamHandle => {
    push(peer, exchange);
    const stream = streamPair({ near: "me", far: peer }).near;
    last("stream.accept").replyTo.send({ type: "stream.opened", id: exchange, stream });
    return stream;
  };
  return { ...made, asked, last, push, accept, types: () => asked.map(({ type }) => type) };
}
const tick = () => new Promise((done) => setTimeout(done, 0));

const test = suite("makeJobNetworkHost()");

test("a request is asked with an id of its own and gives the response, or the error", async () => {
  const { network, last } = host();
  const first = runOf(network.request(alice, "/hypha-health/0.0.1", {}, 50));
  await tick();
  const { replyTo: _, ...ask } = last("request");
  const expected = {
    type: "request",
    id: "id-0",
    peer: alice,
    protocol: "/hypha-health/0.0.1",
    message: {},
    timeoutMs: 50,
  };
  assert.equal(ask, expected);
  last("request").replyTo.send({ type: "response", id: "id-0", message: { healthy: true } });
  assert.equal(await first, { healthy: true });
  const second = failureOf(network.request(alice, "/hypha-health/0.0.1", {}, 50));
  await tick();
  const error = new TransportError({ code: "timed-out", detail: "" });
  last("request").replyTo.send({ type: "request.failed", id: "id-1", error });
  assert.is(await second, error);
});

test("bug: a relay without room became a failure at once; the exchange is tried again, for half a minute at most", async () => {
  const failing = (detail: string, rounds: number) => {
    let tries = 0;
    const exchange = Effect.suspend(() =>
      ++tries > rounds ? Effect.succeed(tries) : Effect.fail(new TransportError({ code: "not-connected", detail }))
    );
    const run = Effect.result(untilRelayHasRoom(exchange, () => 0));
    return Effect.map(run, (outcome) => [outcome._tag, tries] as const);
  };
  const status = "Cannot reach peer: failed to connect via relay with status RESOURCE_LIMIT_EXCEEDED";
  const virtual = <A>(effect: Effect.Effect<A>) =>
    runOf(Effect.scoped(Effect.provide(
      Effect.gen(function* () {
        const fiber = yield* Effect.forkScoped(effect);
        yield* TestClock.adjust("60 seconds");
        return yield* Fiber.join(fiber);
      }),
      TestClock.layer(),
    )));
  assert.equal(await virtual(failing(status, 2)), ["Success", 3]);
  assert.equal(await virtual(failing(status, 100)), ["Failure", relayTriesMax]);
  assert.equal(await virtual(failing("connection refused", 2)), ["Failure", 1]);
  const several = new AggregateError([new Error(status), new Error("ECONNREFUSED")]);
  assert.match(JSON.stringify(refusalOfDialError(several, 5)), "RESOURCE_LIMIT_EXCEEDED");
});

test("interrupting a request cancels it; one that was answered is not cancelled", async () => {
  const { network, last, types } = host();
  const fiber = Effect.runFork(network.request(alice, "/hypha-health/0.0.1", {}, 50));
  await tick();
  await runOf(Fiber.interrupt(fiber));
  assert.equal([last("request.cancel").id, types()], ["id-0", ["request", "request.cancel"]]);
  const answered = Effect.runFork(network.request(alice, "/hypha-health/0.0.1", {}, 50));
  await tick();
  last("request").replyTo.send({ type: "response", id: "id-1", message: { healthy: true } });
  assert.ok(Exit.isSuccess(await runOf(Fiber.await(answered))));
  await runOf(Fiber.interrupt(answered));
  assert.is(types().filter((type) => type === "request.cancel").length, 1);
});

test("a stream that opens after nobody wants it any more is reset", async () => {
  const { network, last } = host();
  const fiber = Effect.runFork(network.openStream(alice, ["/hypha-tensor-stream/pull"]));
  await tick();
  await runOf(Fiber.interrupt(fiber));
  const { near, far } = streamPair({ near: "me", far: alice });
  last("stream.open").replyTo.send({ type: "stream.opened", id: "id-0", stream: near });
  await tick();
  assert.equal(await runOf(far.read), { type: "end", outcome: "broken" });
});

test("push is served while somebody receives, and only then", async () => {
  const { network, types, push, last } = host();
  push(alice, "early");
  assert.is(last("stream.reject").exchange, "early");
  const first = await holdOpen(network.receive({ peers: [alice] }));
  const second = await holdOpen(network.receive({ peers: [bob] }));
  assert.is(types().filter((type) => type === "serve").length, 2, "ours and the plain protocol, once each");
  await first.close();
  assert.not.ok(types().includes("unserve"));
  await second.close();
  assert.is(types().at(-1), "unserve");
  push(alice, "late");
  assert.is(last("stream.reject").exchange, "late");
});

test("the links to those that a job receives from are held while it receives: a round may take longer than an unused link lasts", async () => {
  const { network, asked } = host();
  const holds = () => asked.filter(({ type }) => type === "hold" || type === "release");
  const receiving = await holdOpen(network.receive({ peers: [alice, bob] }));
  assert.equal(holds(), [{ type: "hold", peers: [alice, bob] }]);
  await receiving.close();
  assert.equal(holds().at(-1), { type: "release", peers: [alice, bob] });
  const changing = await holdOpen(network.receive({ peers: [alice] }));
  changing.value.keep([bob]);
  assert.equal(holds().slice(-2), [{ type: "hold", peers: [bob] }, { type: "release", peers: [alice] }]);
  await changing.close();
  assert.equal(holds().at(-1), { type: "release", peers: [bob] });
});

test("a push goes to who names its sender, then to who takes everybody, then to nobody", async () => {
  const { network, accept, push, last } = host();
  const everybody = await holdOpen(network.receive({ peers: undefined }));
  const named = await holdOpen(network.receive({ peers: [alice] }));
  const [fromAlice, fromBob] = [accept(alice, "a"), accept(bob, "b")];
  assert.is(await runOf(named.value.next), fromAlice);
  assert.is(await runOf(everybody.value.next), fromBob);
  await everybody.close();
  push(bob, "c");
  assert.is(last("stream.reject").exchange, "c");
  named.value.allow([bob]);
  const again = accept(bob, "d");
  assert.is(await runOf(named.value.next), again);
  push(alice, "e");
  assert.is(last("stream.reject").exchange, "e");
  await named.close();
});

test("bug: a push went to the job that a restarted scheduler left behind, and its training waited for ever", async () => {
  const { network, accept } = host();
  const before = await holdOpen(network.receive({ peers: [alice] }));
  const after = await holdOpen(network.receive({ peers: [alice, bob] }));
  const stream = accept(alice, "a");
  const outcome = await runOf(Effect.timeoutOption(after.value.next, 100));
  assert.equal(outcome, Option.some(stream), "the newer of two that name the sender");
  await after.close();
  const late = accept(alice, "b");
  assert.is(await runOf(before.value.next), late, "the older, once it is alone");
  await before.close();
});

test("so many streams wait, one more is rejected; who waits for one gets it at once", async () => {
  const { network, accept, push, last } = host();
  const held = await holdOpen(network.receive({ peers: [alice], waitingMax: 2 }));
  const streams = [accept(alice, "a"), accept(alice, "b")];
  push(alice, "c");
  assert.is(last("stream.reject").exchange, "c");
  assert.equal([await runOf(held.value.next), await runOf(held.value.next)], streams);
  const waiting = runOf(held.value.next);
  await tick();
  const next = accept(alice, "d");
  assert.is(await waiting, next);
  // One that could not be accepted leaves its place.
  push(alice, "e");
  const error = new TransportError({ code: "failed", detail: "" });
  last("stream.accept").replyTo.send({ type: "stream.failed", id: "e", error });
  const after = [accept(alice, "f"), accept(alice, "g")];
  assert.equal([await runOf(held.value.next), await runOf(held.value.next)], after);
  await held.close();
});

test("what waits when the receive ends is reset, and whoever waits when the transport ends is told", async () => {
  const { network, push, last, stop } = host();
  const held = await holdOpen(network.receive({ peers: [alice] }));
  const ends = ["a", "b"].map((exchange) => {
    push(alice, exchange);
    return { ...streamPair({ near: "me", far: alice }), replyTo: last("stream.accept").replyTo };
  });
  ends[0]?.replyTo.send({ type: "stream.opened", id: "a", stream: ends[0].near });
  await held.close();
  // This one was still being accepted.
  ends[1]?.replyTo.send({ type: "stream.opened", id: "b", stream: ends[1].near });
  await tick();
  for (const { far } of ends) assert.equal(await runOf(far.read), { type: "end", outcome: "broken" });
  const other = await holdOpen(network.receive({ peers: [alice] }));
  const waiting = failureOf(other.value.next);
  await tick();
  stop();
  assert.is((await waiting).code, "stopped");
  assert.is((await failureOf(other.value.next)).code, "stopped");
  await other.close();
});

test.run();
