/**
 * One run about membership: makes a scenario's world, plays it, and checks its invariants.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { QuietChecks, quietLookMs } from "../check_quiet.ts";
import type { RunOptions, RunResult } from "../run_scenario.ts";
import { startsAt } from "../simulation.ts";
import type { MemberScenario } from "./member_scenario.ts";
import { makeTrouble } from "./member_troubles.ts";
import { makeWorld, type World } from "./member_world.ts";

/** How often all nodes are looked at, in milliseconds of the run. */
const lookEveryMs = 500;

/** Plays a scenario. Between two steps of virtual time it waits for the CA's signatures. */
export async function runMemberScenario(scenario: MemberScenario, options: RunOptions = {}): Promise<RunResult> {
  const { keepTrace = false, stopAtFirst = true, inspect } = options;
  const world = await makeWorld(scenario, { keepTrace, ...(inspect === undefined ? {} : { inspect }) });
  const { sim, findings } = world;
  const { stackTraceLimit } = Error;
  if (!keepTrace) Error.stackTraceLimit = 0;
  const quiet = new QuietChecks({ sim, findings });
  const until = startsAt + scenario.troubleMs + scenario.quietMs;
  try {
    schedule(world, quiet);
    if (await playTo(world, until, stopAtFirst)) {
      quiet.begin();
      if (await playTo(world, until + quietLookMs, stopAtFirst)) {
        world.checker.conclude();
        quiet.conclude();
      }
    }
  } catch (error) {
    findings.violate("no-crash", "all", error instanceof Error ? error.stack ?? error.message : String(error));
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    world.ca.end();
  }
  return {
    seed: scenario.seed,
    traceHash: sim.trace.hash,
    events: sim.trace.count,
    virtualSeconds: (sim.time.now - startsAt) / 1_000,
    violations: findings.violations,
    faults: Object.fromEntries([...world.injected].toSorted()),
    bit: [...world.bit].toSorted(),
    outcome: `${world.ledger.given.size} certificates`,
    lines: sim.trace.lines,
  };
}

function schedule(world: World, quiet: QuietChecks): void {
  const { sim, scenario } = world;
  world.begin();
  for (const event of scenario.events) sim.after(event.at, () => makeTrouble(world, event));
  sim.after(scenario.troubleMs, () => world.calm());
  const look = () => {
    world.look();
    quiet.look();
    sim.after(lookEveryMs, look);
  };
  sim.after(lookEveryMs, look);
}

/** Plays to a time, with what its CA and clients wait for; false where it ended at a violation. */
export async function playTo(
  { sim, ca, web, findings }: Pick<World, "sim" | "ca" | "web" | "findings">,
  until: number,
  stopAtFirst: boolean,
): Promise<boolean> {
  do {
    while (ca.isWorking || web.tasks.working > 0) await setImmediate();
    if (stopAtFirst && findings.violations.length > 0) return false;
  } while (sim.time.step(until));
  return true;
}
