/** Slices in a network: a training that gives each once in an epoch violates nothing, and a slice too many is found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TrainingChecks } from "../../actors/simulation/check_training.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { simulatedJob, Simulation, type SimulationWatch, startsAt } from "../../actors/simulation/mod.ts";
import type { Session } from "../../transport/core/session.ts";

const test = suite("TrainingChecks");
const sliceCount = 4;

interface Given {
  readonly index: number;
  readonly answered: Parameters<NonNullable<SimulationWatch["answer"]>>;
}

/** A scheduler trains with one trainer; its key and certificate can be replaced. */
async function training() {
  const sim = await Simulation.create({ seed: "slices" });
  const findings = new Findings(sim);
  const checks = new TrainingChecks({ sim, findings });
  const given: Given[] = [];
  const watch: SimulationWatch = {
    answer: (...answered) => {
      checks.answer(...answered);
      const [, message] = answered;
      if (!("Data" in message) || typeof message.Data !== "object" || !("Success" in message.Data)) return;
      given.push({ index: message.Data.Success.index, answered });
    },
  };
  sim.watches.push(watch);
  await sim.addNode({ name: "gateway", role: "gateway" });
  const gateways = ["gateway"];
  await sim.addNode({ name: "data", role: "data", slices: sliceCount, gateways });
  await sim.addNode({ name: "aggregator", role: "worker", executors: ["aggregate"], gateways });
  await sim.addNode({ name: "trainer", role: "worker", executors: ["train"], gateways });
  sim.run(5_000);
  const job = simulatedJob({ workers: 1, rounds: 100 });
  const knobs = { rotationDrainMs: 5_000 };
  const scheduler = await sim.addNode({ name: "scheduler", role: "scheduler", job, gateways, knobs });
  const { keyPem } = scheduler.credential;
  const replaceKey = async (edition: number, key?: string) => {
    const day = 86_400_000;
    const period = { notBefore: new Date(startsAt - day), notAfter: new Date(startsAt + 365 * day) };
    const request = { ...period, role: "scheduler", edition, ...(key === undefined ? {} : { keyPem: key }) };
    scheduler.replaceCredential(await sim.authority.node("scheduler", request));
  };
  return { sim, findings, checks, given, scheduler, keyPem, replaceKey };
}

/** Indices that a session gave, in order. */
const indicesOf = (given: readonly Given[], session: Session) =>
  given.filter(({ answered }) => answered[2] === session).map(({ index }) => index);

/** Found by seeds 300,611 and 401,502: slices were counted by PeerID, and the third training has that of the first. */
test("a key that returns begins another training, whose slices are counted anew", async () => {
  const { sim, findings, checks, given, scheduler, keyPem, replaceKey } = await training();
  sim.run(20_000);
  await replaceKey(2);
  sim.run(60_000);
  await replaceKey(3, keyPem);
  sim.run(60_000);
  const sessions = [...new Set(given.map(({ answered }) => answered[2]))];
  const [first, second, third] = sessions;
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  assert.is(sessions.length, 3);
  assert.is(first.self, third.self);
  assert.is.not(first.self, second.self);
  for (const session of sessions) {
    const indices = indicesOf(given, session);
    assert.ok(indices.length > sliceCount);
    assert.equal(indices, indices.map((_, nth) => nth % sliceCount), "every slice once in an epoch, from the first");
  }
  assert.is.not(indicesOf(given, first).length % sliceCount, 0, "the first training ended within an epoch");
  assert.equal(findings.violations, []);
  // Both trainings of this PeerID are held to it.
  const message = given.find(({ index }) => index === 0)?.answered[1];
  assert.ok(message !== undefined);
  for (const session of [first, third]) {
    findings.violations.length = 0;
    for (let twice = 0; twice < 2; twice++) checks.answer(scheduler, message, session);
    assert.equal(findings.violations.map(({ invariant }) => invariant), ["slice-once"]);
  }
});

test("a slice that is given once too often, and one that does not exist, is found", async () => {
  for (const wrong of [[0, 0], [sliceCount]]) {
    const { sim, findings, checks, given } = await training();
    sim.run(20_000);
    assert.equal(findings.violations, []);
    const answered = given.at(-1)?.answered;
    assert.ok(answered !== undefined);
    const [node, , session] = answered;
    for (const index of wrong) checks.answer(node, { Data: { Success: { data_provider: "data", index } } }, session);
    assert.equal(findings.violations.map(({ invariant }) => invariant), ["slice-once"], `slices ${wrong}`);
  }
});

test.run();
