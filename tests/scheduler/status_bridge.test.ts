/** The status bridge: what it posts, and that a receiver that is down disturbs no training. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { metricsIn, statusBridgeMachine, waitingMax } from "../../actors/scheduler/status_bridge.ts";
import { makeFakeWorld, startIn } from "../support/fake_transport.ts";
import { eventually } from "../support/job_world.ts";
import { metricsOfRoundMax } from "../../actors/training/metrics.ts";
import { configOf, startScheduler, training } from "../support/scheduler_world.ts";

const test = suite("status bridge");

/** A receiver that keeps what is posted. */
async function startReceiver(port = 0, status = 200) {
  const posts: { request: string; type: string | undefined; body: unknown }[] = [];
  const server: Server = createServer(async (request, response) => {
    let text = "";
    for await (const piece of request as AsyncIterable<Uint8Array>) text += new TextDecoder().decode(piece);
    const { method, url, headers } = request;
    posts.push({ request: `${method} ${url}`, type: headers["content-type"], body: JSON.parse(text) });
    response.writeHead(status, { connection: "close" }).end();
  });
  await once(server.listen(port, "127.0.0.1"), "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = async () => {
    server.closeAllConnections();
    await once(server.close(), "close");
  };
  return { posts, address, close, port: (server.address() as AddressInfo).port };
}

const metric = (round: number) => ({ worker_id: "p", round, metric_name: "loss", value: 1 });

test("a trainer's metrics are posted one by one, as the existing scheduler does", async () => {
  const { posts, address, close } = await startReceiver();
  const { found, offer, dispatches, say, scheduler } = startScheduler({ ...configOf(1, 1), statusBridge: address });
  found();
  offer("t");
  offer("a");
  const jobs = new Map<string, string>();
  for (const _ of ["the aggregator's", "the trainer's"]) {
    for (const { peer, spec, accept } of dispatches()) {
      jobs.set(peer, spec.job_id);
      accept();
    }
  }
  const job_id = jobs.get("t") ?? "";
  const metrics = { loss: Math.fround(0.31), accuracy: Number.NaN };
  say("t", { job_id, progress: { metrics: { round: 1, metrics } } });
  await eventually("both are posted", () => posts.length === 2);
  const [first, second] = posts;
  assert.equal([first?.request, first?.type], ["POST /status", "application/json"]);
  assert.equal(first?.body, { worker_id: "t", round: 1, metric_name: "loss", value: 0.31 });
  assert.equal(second?.body, { worker_id: "t", round: 1, metric_name: "accuracy", value: null });
  scheduler.stop();
  await close();
});

test("no other line is posted, and a value is the shortest decimal of its F32", () => {
  const line = (event: string, fields?: Record<string, unknown>) =>
    metricsIn({ level: "debug", event, message: "", ...(fields && { fields }) });
  assert.equal(line("job.progress", { peer: "p", round: 1, metrics: { loss: 1 } }), []);
  assert.equal(line("round.metrics"), []);
  const values = { a: Math.fround(1 / 3), b: 16_777_217, c: Math.fround(1e-45), d: -0.1, e: Infinity, f: null };
  const posted = line("round.metrics", { peer: "p", round: 2, metrics: values }).map(({ value }) => value);
  assert.equal(posted, [0.33333334, 16_777_216, 1e-45, -0.1, null, null]);
});

test("bug: a trainer reported any number of metrics in a round: others' were dropped, and the training's log was gone", () => {
  const { world, progress, round } = training(["a", "b"], 2);
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, nth) => [`metric ${nth}`, nth]));
  const say = (peer: string) => progress(peer, { metrics: { round: 7, metrics: many } });
  const namesOf = (peer: string) =>
    world.reported("round.metrics").filter((fields) => fields["peer"] === peer)
      .flatMap(({ metrics }) => Object.keys(metrics as object));
  assert.equal([say("a"), say("a"), say("a")], ["Ok", "Ok", "Ok"], "its executor goes on");
  assert.is(namesOf("a").length, metricsOfRoundMax);
  assert.equal(world.reported("round.metrics").map(({ dropped }) => dropped), [undefined, 8, 20]);
  say("b");
  assert.is(namesOf("b").length, 20, "each has its own");
  assert.equal(progress("b", { metrics: { round: 1, metrics: { ["x".repeat(65)]: 1, loss: 2 } } }), "Ok");
  assert.equal(namesOf("b").slice(20), ["loss"], "a name has a bound too");
  round("a", "b");
  say("a");
  assert.is(namesOf("a").length, metricsOfRoundMax + 20, "the next round has room for more");
});

test("a receiver that is down is said once; what waits is bounded, and is posted when it is back", async () => {
  const gone = await startReceiver();
  await gone.close();
  const world = makeFakeWorld();
  const bridge = startIn(world, statusBridgeMachine, { ports: world.ports, address: gone.address });
  bridge.send({ type: "metrics.reported", metrics: [metric(0)] });
  await eventually("it is said", () => world.reported("status.unsent").length === 1);
  for (let round = 1; round <= waitingMax + 2; round++) {
    bridge.send({ type: "metrics.reported", metrics: [metric(round)] });
  }
  world.pass(5_010);
  await eventually("it was tried again", () => bridge.getSnapshot().matches("pausing"));
  assert.is(world.reported("status.unsent").length, 1);
  const back = await startReceiver(gone.port);
  world.pass(5_010);
  await eventually("all is posted", () => back.posts.length === waitingMax + 1);
  const rounds = back.posts.map(({ body }) => (body as { round: number }).round);
  assert.equal(rounds, [0, ...Array.from({ length: waitingMax }, (_, nth) => nth + 3)]);
  await eventually("it is said", () => world.reported("status.sent").length === 1);
  assert.is(world.reported("status.sent")[0]?.["dropped"], 2);
  bridge.stop();
  await back.close();
});

test("a metric that the receiver refuses is not posted again", async () => {
  const { posts, address, close } = await startReceiver(0, 422);
  const world = makeFakeWorld();
  const bridge = startIn(world, statusBridgeMachine, { ports: world.ports, address });
  bridge.send({ type: "metrics.reported", metrics: [metric(1), metric(2)] });
  await eventually("both were posted", () => posts.length === 2 && bridge.getSnapshot().matches("resting"));
  assert.equal(world.reported("status.unsent"), []);
  bridge.stop();
  await close();
});

test("an address that is none is said, and stops nothing", async () => {
  const world = makeFakeWorld();
  const bridge = startIn(world, statusBridgeMachine, { ports: world.ports, address: "no address" });
  bridge.send({ type: "metrics.reported", metrics: [metric(1)] });
  await eventually("it is said", () => world.reported("status.unsent").length === 1);
  bridge.stop();
});

test.run();
