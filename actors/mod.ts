/**
 * The actors of a node, for those who embed one, read its machines, or put its gate into an application of their own.
 *
 * @module
 */
export * from "./runtime/ports.ts";
export * from "./runtime/effect_actor.ts";
export * from "./runtime/scoped_actor.ts";
export * from "./runtime/supervise.ts";

export { type AuditEntry, type AuditSink, logAlone } from "./trust/audit.ts";
export { type GateFactoryOptions, makeGateFactory } from "./gate/gate.ts";
export { type ConnectionGateContext, type ConnectionGateInput, connectionGateMachine } from "./gate/connection_gate.ts";
export { type IdentityEvent, type IdentityInput, identityMachine } from "./trust/identity.ts";
export { LoadError, type LoadProblem } from "./files/load_error.ts";
export { checkOwnChain } from "./trust/load_identity.ts";
export { type IdentityPair, type IdentityTerms, makeIdentity } from "./trust/make_identity.ts";
export { makePorts, type RealPorts, realServices } from "./runtime/real_ports.ts";
export { refusalLogMachine } from "./trust/refusal_log.ts";
export { trustWatchMachine } from "./trust/trust_watch.ts";
export { type TrustEvent, type TrustStoreInput, trustStoreMachine, type TrustTiming } from "./trust/trust_store.ts";
export {
  type TrustWatch,
  type WatchedDomain,
  type WatchedPaths,
  watchTrust,
  type WatchTrustOptions,
} from "./trust/watch_trust.ts";

export { type NodeCommand, type NodeExit, NodeFailed, type NodeInput, nodeMachine } from "./node/node.ts";
export { dataMachine } from "./data/data.ts";
export { gatewayMachine } from "./gateway/gateway.ts";
export { schedulerMachine } from "./scheduler/scheduler.ts";
export { workerMachine } from "./worker/worker.ts";
export { allocationMachine } from "./training/allocation.ts";
export { evaluationMachine } from "./training/evaluation.ts";
export {
  type Evaluated,
  type EvaluatedModel,
  EvaluationFailed,
  type Evaluator,
  type HeldOutFile,
  type ModelReference,
} from "./training/evaluator.ts";
export { heldLeaseMachine } from "./training/held_lease.ts";
export { jobMachine } from "./job/job.ts";
export { leaseMachine } from "./worker/lease.ts";
export { parameterServerMachine } from "./job/parameter_server.ts";
export { type ProbeInput, probeMachine, type ProbeOutcome } from "./node/probe.ts";

export type * from "./config/config.ts";
export { ConfigError } from "./config/problem.ts";
export { type JobSource, readJob } from "./config/job_source.ts";
export { loadConfig, parseConfig } from "./config/load.ts";
export type { ConfigWarning } from "./config/warnings.ts";
