/**
 * Members of a training die in virtual time, with the production machines: others take their places, and the rounds go on.
 *
 * Method: trainers hold real parameters, add each result, and report their digest; the scheduler compares it with its own.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { simulatedJob, Simulation } from "../../actors/simulation/mod.ts";

const test = suite("members that are replaced");
const rounds = 8;
type Event = readonly [node: string, event: string, fields: Readonly<Record<string, unknown>>];

/** A scheduler that keeps its model, and workers of which each can train and aggregate. */
async function network(workers: number, trainers = 2) {
  const sim = await Simulation.create({ seed: "replaced" });
  const events: Event[] = [];
  const counted = new Map<string, number>();
  const twice: string[] = [];
  sim.watches.push({
    report: (node, { event, fields = {} }) => void events.push([node.name, event, fields]),
    averaged: ({ round, updates }) => {
      for (const [peer, values] of updates) {
        const before = counted.get(values.join()) ?? round;
        if (before !== round) twice.push(`an update of ${peer} of round ${before} counted in round ${round}`);
        counted.set(values.join(), before);
      }
    },
  });
  await sim.addNode({ name: "gateway", role: "gateway" });
  await sim.addNode({ name: "data", role: "data", gateways: ["gateway"], slices: 4 });
  for (let at = 1; at <= workers; at++) {
    const executors = ["train", "aggregate"] as const;
    await sim.addNode({ name: `worker-${at}`, role: "worker", gateways: ["gateway"], executors });
  }
  sim.run(3_000);
  const job = simulatedJob({ workers: trainers, rounds, keeps: true });
  await sim.addNode({ name: "scheduler", role: "scheduler", gateways: ["gateway"], job });
  const of = (name: string) => events.filter(([node, event]) => node === "scheduler" && event === name);
  const until = (what: string, holds: () => boolean, forMs = 180_000) => {
    for (let passed = 0; passed < forMs && !holds(); passed += 100) sim.run(100);
    assert.ok(
      holds(),
      `${what}: ${
        events.filter(([node]) => node === "scheduler").slice(-12).map(([, event, fields]) =>
          `${event} ${JSON.stringify(fields)}`
        ).join("\n")
      }`,
    );
  };
  /** The node of the newest job of a class. */
  const nodeOf = (jobClass: "train" | "aggregate") => {
    const peer = of("job.dispatched").findLast(([, , fields]) => fields["class"] === jobClass)?.[2]["peer"];
    const node = [...sim.nodes.values()].find((each) => each.peer === peer);
    assert.ok(node !== undefined);
    return node;
  };
  const finished = () => of("round.finished").map(([, , { round }]) => round);
  /** The training ends with its model, all rounds finished once, and equal parameters. */
  const ends = () => {
    until("it ends", () => of("training.model").length > 0, 400_000);
    assert.equal(finished(), Array.from({ length: rounds }, (_, at) => at + 1));
    assert.equal([of("member.diverged"), twice], [[], []]);
    const last = of("member.parameters").filter(([, , { round }]) => round === rounds);
    assert.ok(last.length > 0);
    for (const [, , { sha256 }] of last) assert.is(sha256, of("training.model")[0]?.[2]["sha256"]);
  };
  return { sim, of, until, nodeOf, finished, ends };
}

test("a trainer that dies is replaced: for results first, then with a job, and counted from a later round", async () => {
  const { of, until, nodeOf, finished, ends } = await network(4);
  until("two rounds", () => finished().length === 2);
  const victim = nodeOf("train");
  victim.crash(true);
  until("it is lost", () => of("trainer.lost").length === 1);
  until(
    "another is counted",
    () =>
      of("job.redispatched").some(([, , { trainers, results }]) =>
        (trainers as string[]).length === 2 && (results as string[]).length === 2 &&
        !(trainers as string[]).includes(victim.peer)
      ),
  );
  ends();
});

/** From the moment at which a round is kept: its result goes out within some milliseconds, then the trainers are at work for seconds. */
const moments = [0, 10, 20, 30, 40, 50, 60, 80, 120, 500, 2_000, 3_500];
test("the aggregator dies at a dozen moments of a round: another goes on with its velocity, and the trainers stay", async () => {
  for (const moment of moments) {
    const { sim, of, until, nodeOf, finished, ends } = await network(4);
    until("a round", () => finished().length >= 1);
    const before = finished().length;
    for (let passed = 0; finished().length === before && passed < 60_000; passed += 5) sim.run(5);
    sim.run(moment);
    nodeOf("aggregate").crash(true);
    until("it is lost", () => of("aggregator.lost").length === 1);
    ends();
    assert.is(of("trainer.lost").length, 0, `${moment} ms after a round was kept`);
  }
});

test("the aggregator dies when it has reported a round and not handed it over: the round is done again", async () => {
  const { sim, of, until, nodeOf, finished, ends } = await network(4);
  until("a round", () => finished().length >= 1);
  const before = of("round.members").length;
  for (let passed = 0; of("round.members").length === before && passed < 60_000; passed++) sim.run(1);
  const [reported, kept] = [of("round.members").at(-1)?.[2]["round"], finished().length];
  assert.is(reported, kept + 1);
  nodeOf("aggregate").crash(true);
  until("it is lost", () => of("aggregator.lost").length === 1);
  ends();
  assert.is(of("round.members").filter(([, , { round }]) => round === reported).length, 2);
});

test("bug: the only worker that can aggregate came back, and its results were refused as another job's", async () => {
  const { of, until, nodeOf, finished, ends } = await network(3);
  until("two rounds", () => finished().length === 2);
  const aggregator = nodeOf("aggregate");
  aggregator.crash(true);
  until("it is lost", () => of("aggregator.lost").length === 1);
  aggregator.start();
  ends();
  assert.is(nodeOf("aggregate"), aggregator);
});

test("with nobody left it waits, and goes on when they come back", async () => {
  const { sim, of, until, finished, ends } = await network(3);
  until("two rounds", () => finished().length === 2);
  const workers = [...sim.nodes.values()].filter(({ role }) => role === "worker");
  for (const worker of workers) worker.crash(true);
  until("it waits", () => of("training.waiting").length > 0);
  sim.run(20_000);
  for (const worker of workers) worker.start();
  ends();
});

test("with nobody left for longer than wait_s it fails, and says what it lacks", async () => {
  const { sim, of, until, finished } = await network(3);
  until("two rounds", () => finished().length === 2);
  for (const worker of sim.nodes.values()) if (worker.role === "worker") worker.crash(true);
  until("it waits", () => of("training.waiting").length > 0);
  until("it fails", () => sim.nodes.get("scheduler")?.isRunning !== true, 120_000);
});

test.run();
