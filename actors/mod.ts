/**
 * The actors of a node, for those who embed one, read its machines, or put its gate into an application of their own.
 *
 * @module
 */
export * from "./ports.ts";
export * from "./effect_actor.ts";
export * from "./scoped_actor.ts";
export * from "./supervise.ts";

export { type AuditEntry, type AuditSink, logAlone } from "./audit.ts";
export { type GateFactoryOptions, makeGateFactory } from "./gate.ts";
export { type HandshakeContext, type HandshakeInput, handshakeMachine, handshakeWith } from "./handshake.ts";
export { type IdentityInput, identityMachine, type IdentitySaid } from "./identity.ts";
export { LoadError, type LoadProblem } from "./load_error.ts";
export { checkOwnChain } from "./load_identity.ts";
export { type IdentityPair, type IdentityTerms, makeIdentity } from "./make_identity.ts";
export { makePorts, type RealPorts, realServices } from "./real_ports.ts";
export { refusalLedgerMachine } from "./refusal_ledger.ts";
export { trustWatchMachine } from "./trust_watch.ts";
export { type TrustSaid, type TrustStoreInput, trustStoreMachine, type TrustTiming } from "./trust_store.ts";
export {
  type TrustWatch,
  type WatchedDomain,
  type WatchedPaths,
  watchTrust,
  type WatchTrustOptions,
} from "./watch_trust.ts";

export { type NodeCommand, type NodeExit, NodeFailed, type NodeInput, nodeMachine } from "./node.ts";
export { dataMachine } from "./data.ts";
export { gatewayMachine } from "./gateway.ts";
export { schedulerMachine } from "./scheduler.ts";
export { workerMachine } from "./worker.ts";
export { allocationMachine } from "./allocation.ts";
export { evaluationMachine } from "./evaluation.ts";
export { heldLeaseMachine } from "./held_lease.ts";
export { jobMachine } from "./job.ts";
export { leaseMachine } from "./lease.ts";
export { parameterServerMachine } from "./parameter_server.ts";
export { type ProbeInput, probeMachine, type ProbeOutcome } from "./probe.ts";

export type * from "./config/config.ts";
export { ConfigError } from "./config/problem.ts";
export { type JobSource, readJob } from "./config/job_source.ts";
export { loadConfig, parseConfig } from "./config/load.ts";
export type { ConfigWarning } from "./config/warnings.ts";
