/**
 * A whole network in one process, in virtual time: to try a policy, a protocol or a fault before production.
 *
 * @module
 */
export * from "./authority.ts";
export { type BrokenHand, type ExecutorHabit, handSteps } from "./executor.ts";
export * from "./node.ts";
export * from "./node_config.ts";
export { randomOf, type RandomStream } from "../runtime/random.ts";
export * from "./simulation.ts";
export * from "./trace.ts";
export * from "./virtual_time.ts";
export * from "./invariants.ts";
export * from "./run_scenario.ts";
export * from "./scenario.ts";
export * from "./draw_scenario.ts";
export * from "./knobs.ts";
export { allMoments, byteMomentOf, type Moment, moments } from "./moments.ts";
export * from "./wide_scenario.ts";
export * from "./wide_revocation.ts";
export * from "./training_scenario.ts";
export * from "./coverage.ts";
export * from "./gate_paths.ts";
export * from "./shrink.ts";
export * from "./mutate_scenario.ts";
export * from "./witness_scenario.ts";
export * from "./run_witness_scenario.ts";
export * from "./membership/member_scenario.ts";
export * from "./membership/run_member_scenario.ts";
export * from "./membership/shrink_member.ts";
