/**
 * Hypha: permissioned peer-to-peer compute networks.
 *
 * By their own names: what an application starts with ({@linkcode makeIdentity}, {@linkcode watchTrust},
 * {@linkcode makeMtlsSecurity}, {@linkcode makeGateFactory}), and everything of `hypha-runtime/pki`. All else that is public stands
 * under the name of its room: {@linkcode issue}, {@linkcode transport}, {@linkcode actors}. The simulation is not loaded from
 * here: import `hypha-runtime/simulation`.
 *
 * @module
 */
export * from "./pki/mod.ts";
export * as pki from "./pki/mod.ts";
export * as issue from "./pki/issue/mod.ts";
export * as transport from "./transport/mod.ts";
export * as actors from "./actors/mod.ts";

export { type IdentityPair, type IdentityTerms, makeIdentity } from "./actors/trust/make_identity.ts";
export { checkOwnChain } from "./actors/trust/load_identity.ts";
export { LoadError, type LoadProblem } from "./actors/files/load_error.ts";
export {
  type TrustWatch,
  type WatchedDomain,
  type WatchedPaths,
  watchTrust,
  type WatchTrustOptions,
} from "./actors/trust/watch_trust.ts";
export type { TrustTiming } from "./actors/trust/trust_store.ts";
export { type GateFactoryOptions, makeGateFactory } from "./actors/gate/gate.ts";
export type { Ports, Report, Run, Services } from "./actors/runtime/ports.ts";
export { makePorts, type RealPorts } from "./actors/runtime/real_ports.ts";
export { makeMtlsSecurity, type MtlsSecurity, type MtlsSecurityInit } from "./transport/libp2p/mtls_security.ts";
export type { FrameLimits } from "./transport/libp2p/frame_guard.ts";
export type { KeyExchange } from "./transport/libp2p/tls_context.ts";
export { libp2pKey } from "./transport/libp2p/key.ts";
export type {
  AddressText,
  CloseReason,
  Gate,
  GateCommand,
  GateEvent,
  GateInput,
  GatePhase,
  MakeGate,
  NodeIdentity,
  PeerText,
  TransportLimits,
} from "./transport/port.ts";
export { defaultLimits } from "./transport/core/admission.ts";
