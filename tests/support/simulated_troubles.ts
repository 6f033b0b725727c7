/**
 * Scenarios written by hand for what seeds rarely draw: every worker broken at the same step, a key that is replaced while
 * its node is alone, a second order to stop.
 *
 * @module
 */
import {
  type FaultKind,
  handSteps,
  type Scenario,
  type ScenarioEvent,
  scenarioOf,
} from "../../actors/simulation/mod.ts";

type Step = (typeof handSteps)[number];

const workers = [1, 2, 3, 4, 5, 6, 7].map((number) => `worker-${number}`);

function trouble(kind: ScenarioEvent["kind"], target: string, at: number, forMs: number, amount = 0.6): ScenarioEvent {
  return { kind, target, at, forMs, amount, other: "gateway-1" };
}

/** As `faults.ts` reads it: the amount says which step, an odd time that it hangs. */
function broken(target: string, step: Step, how: "fails" | "hangs"): ScenarioEvent {
  const amount = (handSteps.indexOf(step) + 0.5) / handSteps.length;
  return trouble("broken-worker", target, how === "hangs" ? 501 : 500, 70_000, amount);
}

const everyWorker = (step: Step, how: "fails" | "hangs") => workers.map((name) => broken(name, step, how));

const slowLink = trouble("slow-link", "worker-2", 1, 20_000, 0.9);

/** Nodes of a seed, and these events alone; it ends when they have happened, whatever became of the job. */
function made(seed: number, forMs: number, ...events: readonly ScenarioEvent[]): Scenario {
  return { ...scenarioOf(seed, { faults: [], nodes: 10 }), events, troubleMs: forMs, quietMs: 2_000 };
}

function only(scenario: Scenario, names: readonly string[]): Scenario {
  return { ...scenario, nodes: scenario.nodes.filter(({ name }) => names.includes(name)) };
}

const cut = (at: number) => ["scheduler-1", "scheduler-2"].map((name) => trouble("power-cut", name, at, 60_000));

/** Each takes transitions that no seed of `transition_seeds.json` does. */
export const troubles: readonly Scenario[] = [
  ...(["fails", "hangs"] as const).flatMap((how) => [
    made(20, 25_000, ...everyWorker("bridge", how)),
    made(20, 25_000, ...everyWorker("executor", how)),
    made(20, 60_000, ...everyWorker("remove", how)),
    made(21, 25_000, ...everyWorker("directory", how)),
    made(20, 70_000, ...everyWorker("flush", how)),
    made(20, 40_000, ...everyWorker("stop", how), ...cut(9_000)),
  ]),
  // Two workers that can do both, for a job that needs three: it is tried one way round, then the other.
  only(made(20, 80_000), ["gateway-1", "gateway-2", "data-1", "scheduler-1", "worker-2", "worker-3"]),
  // A scheduler is cut off, and its clock jumps beyond the ends of its leases between two tries of a renewal.
  made(
    20,
    20_000,
    trouble("partition", "scheduler-1", 3_000, 15_000, 0.9),
    trouble("clock-jump", "scheduler-1", 10_300, 8_000, 0.99),
  ),
  made(20, 25_000, ...everyWorker("overrun", "fails")),
  made(20, 25_000, ...everyWorker("exit", "fails")),
  // Cancelled while their hands are busy: the lease of a scheduler that is gone is over first.
  made(20, 25_000, ...everyWorker("directory", "hangs"), ...cut(4_000)),
  made(20, 25_000, ...everyWorker("bridge", "hangs"), ...cut(4_000)),
  made(20, 25_000, ...everyWorker("executor", "hangs"), ...cut(4_000)),
  made(3, 80_000, broken("worker-4", "flush", "fails"), broken("worker-5", "flush", "hangs"), ...cut(70_000)),
  made(4, 40_000, broken("worker-2", "stop", "fails"), broken("worker-3", "stop", "hangs"), ...cut(9_000)),
  // Told to stop: as it loads, twice, and while a job does not end.
  made(6, 4_000, trouble("drain", "worker-2", 101, 9_000), trouble("drain", "data-1", 45, 9_000)),
  made(21, 20_000, ...workers.flatMap((name) => [12_000, 12_002].map((at) => trouble("drain", name, at, 9_000)))),
  made(22, 40_000, ...everyWorker("stop", "hangs"), ...workers.map((name) => trouble("drain", name, 14_000, 40_000))),
  // What a data node announces is lost on the way.
  made(20, 14_000, trouble("dropping-gateway", "data-1", 20, 9_000)),
  // Told to stop between a handshake's verdict and the multiplexer.
  {
    ...made(1, 3_000, slowLink, trouble("drain", "worker-2", 2_100, 9_000)),
    nodes: scenarioOf(1, { faults: [] }).nodes,
  },
  // Begins with files that are no good.
  made(7, 2_000, trouble("torn-file", "worker-3", 10, 30_000, 0.7), trouble("torn-file", "worker-2", 10, 30_000, 0.3)),
  // Waits for a gateway for longer than a node does in silence.
  made(21, 12_000, trouble("partition", "worker-2", 1, 30_000, 0.9)),
  // Another key: while it is connected with nobody, and shortly before it is told to stop.
  made(21, 12_000, trouble("partition", "worker-2", 1, 30_000, 0.9), trouble("rekey", "worker-2", 5_000, 500, 0)),
  made(
    12,
    25_000,
    trouble("rekey", "worker-2", 5_000, 3_000, 0.1),
    ...["worker-2", "data-1", "scheduler-1"].map((name, nth) => trouble("drain", name, 9_000 + 300 * nth, 3_000)),
  ),
  // Leases whose workers are gone, and a clock that jumps past their end while they are renewed.
  made(
    20,
    17_000,
    ...workers.map((name) => trouble("crash", name, 14_000, 60_000)),
    ...["scheduler-1", "scheduler-2"].map((name) => trouble("clock-jump", name, 15_500, 5_000, 0.9)),
  ),
  // All workers are gone for longer than a training waits for others.
  made(20, 80_000, ...workers.map((name) => trouble("crash", name, 14_000, 100_000))),
  // Announcements that no gateway takes, and the next one after ten minutes.
  made(13, 60_000, ...gateways("delaying-gateway", "dropping-gateway")),
  made(15, 640_000),
];

function gateways(...kinds: readonly FaultKind[]): readonly ScenarioEvent[] {
  return kinds.map((kind, index) => trouble(kind, `gateway-${index + 1}`, 1, 60_000));
}
