/**
 * The third family of scenarios, about trainings: those of the first family, with a model that the scheduler keeps and that has an
 * integer tensor beside floats. In half of them several trainings are submitted to the first scheduler. In some, rounds close with a part of the updates; clocks are set by an hour; a scheduler loses its
 * power at any write, or has a full disk; an aggregator is lost right after its round was kept, before its trainers have the result; or loses its connections while an update arrives. No seed of the first
 * family changes by it.
 *
 * @module
 */
import { randomOf, type RandomStream } from "../runtime/random.ts";
import { scenarioOf, type ScenarioTerms } from "./draw_scenario.ts";
import {
  aimMs,
  type NodePlan,
  type PlannedTraining,
  type Scenario,
  type ScenarioEvent,
  troubleMs,
} from "./scenario.ts";

/** The first scheduler waits for jobs in this part of the seeds; so many are submitted. */
const submittedShare = 0.5;
const trainingsMin = 2;
const trainingsMax = 3;
/** A training is cancelled in this part, and resumed later in this part of those. */
const cancelledShare = 0.4;
const resumedShare = 0.7;
/** Half of the updates are enough at a round's deadline in this part of the seeds. */
const quorumShare = 0.5;
/** Clocks are set in this part of the seeds, up to so many times. */
const stepsShare = 0.6;
const stepsMax = 3;
/** A scheduler loses its power at a write in this part of the seeds, up to so many times. */
const cutsShare = 0.4;
const cutsMax = 2;
/** A scheduler's disk is full for a while in this part of the seeds. */
const fullShare = 0.3;
/** The first worker, which aggregates, is lost right after a round was kept in this part of the seeds, up to so many times. */
const lossesShare = 0.3;
const lossesMax = 3;
/** A worker that aggregates loses its connections when an update arrives in this part of the seeds, up to so many times. */
const resetsShare = 0.5;
const resetsMax = 3;
/** Writes, syncs and renames of a round that is kept, and of what is kept besides. */
const writesMax = 30;
/** A scheduler that lost its power is back within this, in milliseconds. */
const backMs = 1_000;
/** The last trouble begins so long before all troubles are over, in milliseconds. */
const lastMs = 25_000;

/** The scenario of a seed. */
export function trainingScenarioOf(seed: number, terms: ScenarioTerms = {}): Scenario {
  const { job, events, ...scenario } = scenarioOf(seed, terms);
  const quorum = randomOf(seed, "trainings/quorum").chance(quorumShare) ? { quorum: 0.5 } : {};
  const has = (kind: "clock-step" | "power-cut" | "crash" | "disk-full" | "reset") =>
    terms.faults === undefined || terms.faults.includes(kind);
  const steps = has("clock-step") ? drawSteps(randomOf(seed, "trainings/steps"), scenario.nodes) : [];
  const more = [
    ...steps,
    ...(has("power-cut") ? drawCuts(randomOf(seed, "trainings/cuts")) : []),
    ...(has("crash") ? drawLosses(randomOf(seed, "trainings/losses")) : []),
    ...(has("reset") ? drawResets(randomOf(seed, "trainings/resets"), scenario.nodes) : []),
    ...(has("disk-full") ? drawFull(randomOf(seed, "trainings/full")) : []),
  ];
  // By a clock that is wrong a holder measures no lease: it has to have the ten seconds of `docs/wire.md`.
  const { leaseLifeMs: _, ...others } = scenario.knobs ?? {};
  return {
    ...scenario,
    ...(steps.length > 0 ? { knobs: others } : {}),
    ...(randomOf(seed, "trainings/submitted").chance(submittedShare)
      ? { submitted: drawTrainings(randomOf(seed, "trainings/plans"), quorum) }
      : {}),
    job: { ...job, keeps: true, integers: true, ...quorum },
    events: [...events, ...more].toSorted((left, right) => left.at - right.at),
  };
}

/** Trainings of one scheduler, which share its workers. */
function drawTrainings(random: RandomStream, quorum: Pick<PlannedTraining, "quorum">): readonly PlannedTraining[] {
  return Array.from({ length: trainingsMin + random.whole(0, trainingsMax - trainingsMin + 1) }, (_, nth) => {
    const at = random.whole(500, 6_000) + nth * random.whole(0, 8_000);
    const cancelAt = at + random.whole(1_000, 30_000);
    const [isCancelled, isResumed] = [random.chance(cancelledShare), random.chance(resumedShare)];
    const resumeAt = cancelAt + random.whole(500, 15_000);
    return {
      id: `t-${nth + 1}`,
      at,
      workers: 1 + random.whole(0, 2),
      rounds: 2 + random.whole(0, 4),
      ...quorum,
      ...(isCancelled ? { cancelAt, ...(isResumed ? { resumeAt } : {}) } : {}),
    };
  });
}

/** Clocks that are set an hour forward or back, and later right again: of schedulers, aggregators and trainers. */
function drawSteps(random: RandomStream, nodes: readonly NodePlan[]): readonly ScenarioEvent[] {
  if (!random.chance(stepsShare)) return [];
  const targets = nodes.filter(({ role }) => role === "scheduler" || role === "worker");
  return Array.from({ length: 1 + random.whole(0, stepsMax) }, () => ({
    at: random.whole(2_000, troubleMs - lastMs),
    kind: "clock-step",
    target: random.chance(0.4) ? "scheduler-1" : random.pick(targets).name,
    forMs: random.whole(200, lastMs),
    amount: random.next(),
  }));
}

function drawCuts(random: RandomStream): readonly ScenarioEvent[] {
  if (!random.chance(cutsShare)) return [];
  return Array.from({ length: 1 + random.whole(0, cutsMax) }, () => ({
    at: random.whole(8_000, troubleMs - lastMs - aimMs),
    kind: "power-cut",
    target: "scheduler-1",
    other: "gateway-1",
    forMs: random.whole(100, backMs),
    amount: random.next(),
    atWrite: random.whole(1, writesMax),
  }));
}

function drawLosses(random: RandomStream): readonly ScenarioEvent[] {
  if (!random.chance(lossesShare)) return [];
  return Array.from({ length: 1 + random.whole(0, lossesMax) }, () => ({
    at: random.whole(5_000, troubleMs - lastMs - aimMs),
    kind: "crash",
    target: "worker-1",
    forMs: random.whole(200, lastMs),
    amount: random.next(),
    when: "round.finished",
    seenAt: "scheduler-1",
  }));
}

/** Most meet the first worker, which aggregates where no other is leased. */
function drawResets(random: RandomStream, nodes: readonly NodePlan[]): readonly ScenarioEvent[] {
  if (!random.chance(resetsShare)) return [];
  const targets = nodes.filter(({ executors }) => executors?.includes("aggregate") === true);
  return Array.from({ length: 1 + random.whole(0, resetsMax) }, () => ({
    at: random.whole(5_000, troubleMs - lastMs - aimMs),
    kind: "reset",
    target: random.chance(0.7) ? "worker-1" : random.pick(targets).name,
    forMs: 0,
    amount: random.next(),
    when: "push",
  }));
}

function drawFull(random: RandomStream): readonly ScenarioEvent[] {
  if (!random.chance(fullShare)) return [];
  const [at, forMs] = [random.whole(5_000, troubleMs - lastMs), random.whole(3_000, lastMs)];
  return [{ at, kind: "disk-full", target: "scheduler-1", forMs, amount: random.next() }];
}
