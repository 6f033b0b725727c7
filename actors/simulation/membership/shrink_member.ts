/**
 * Shrinks a failing scenario about membership while it fails in the same way: leaves out events, then nodes.
 *
 * @module
 */
import type { InvariantName } from "../invariants.ts";
import { fewer, shrinkRunsMax } from "../shrink.ts";
import type { MemberScenario } from "./member_scenario.ts";
import { runMemberScenario } from "./run_member_scenario.ts";

/** A shrunk scenario. */
export interface ShrunkMembers {
  readonly scenario: MemberScenario;
  readonly runs: number;
}

/** Shrinks a scenario that violates `invariant`. */
export async function shrinkMemberScenario(scenario: MemberScenario, invariant: InvariantName): Promise<ShrunkMembers> {
  let runs = 0;
  const fails = async (candidate: MemberScenario) => {
    if (runs >= shrinkRunsMax) return false;
    runs += 1;
    const { violations } = await runMemberScenario(candidate);
    return violations[0]?.invariant === invariant;
  };
  const events = await fewer(scenario.events, (kept) => fails({ ...scenario, events: kept }));
  const named = new Set(["gateway-1", ...events.map(({ target }) => target)]);
  const spare = scenario.nodes.filter(({ name }) => !named.has(name));
  const only = (kept: readonly unknown[]) => ({
    ...scenario,
    events,
    nodes: scenario.nodes.filter((plan) => !spare.includes(plan) || kept.includes(plan)),
  });
  return { scenario: only(await fewer(spare, (kept) => fails(only(kept)))), runs };
}
