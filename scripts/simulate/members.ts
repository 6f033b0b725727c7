/**
 * The second family of scenarios, about membership: a CA, nodes that join by token and renew their certificates, lists that travel.
 *
 * @module
 */
import {
  type MemberFaultKind,
  memberFaultKinds,
  memberScenarioOf,
  runMemberScenario,
  type RunResult,
  shrinkMemberScenario,
} from "../../actors/simulation/mod.ts";
import { type BatchOptions, runBatch, type SimulateReport } from "./batch.ts";

/** The kinds in a text of the command line; undefined where one of them is no kind of this family. */
export function memberFaultsOf(names: readonly string[]): readonly MemberFaultKind[] | undefined {
  const kinds = memberFaultKinds.filter((kind) => names.includes(kind));
  return kinds.length === names.length ? kinds : undefined;
}

/** What to run. */
export interface MembersOptions extends BatchOptions {
  readonly faults: readonly MemberFaultKind[] | undefined;
  /** Persons approve some operations of the CA. */
  readonly approvals: boolean;
  /** The CA's key is in a token that hangs and vanishes. */
  readonly hardware: boolean;
}

/** Plays one seed again, with its whole trace. */
export function replayMember(
  seed: number,
  { faults, approvals, hardware }: Pick<MembersOptions, "faults" | "approvals" | "hardware">,
): Promise<RunResult> {
  return runMemberScenario(memberScenarioOf(seed, { faults, approvals, hardware }), { keepTrace: true });
}

/** Runs a batch. */
export function simulateMembers(options: MembersOptions): Promise<SimulateReport> {
  const { faults, approvals, hardware } = options;
  const flags = [...(approvals ? ["--approvals"] : []), ...(hardware ? ["--hardware"] : [])].join(" ");
  const kinds = faults === undefined ? "" : ` --faults ${faults.join(",") || "none"}`;
  const family = {
    scenarioOf: (seed: number) => memberScenarioOf(seed, { faults, approvals, hardware }),
    run: runMemberScenario,
    shrink: shrinkMemberScenario,
    replay: (seed: number) => `npm run simulate -- ${flags || "--membership"} --replay ${seed}${kinds}`,
  };
  return runBatch(family, options);
}
