/**
 * What a node's machine is made of beside its states: input, context, events, guards, children, and its times.
 *
 * @module
 */
import { Data } from "effect";
import { type ActorRefFrom, type CallbackActorLogic, setup } from "xstate";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type {
  AddressText,
  CountersAnswer,
  DrainAnswer,
  MakeGate,
  NodeIdentity,
  PeerText,
  StartAnswer,
  TransportAsk,
  TransportCounters,
  TransportFact,
  TransportInput,
} from "../../transport/port.ts";
import type { AuditSink } from "../audit.ts";
import type { RoleConfig } from "../config/config.ts";
import { dataMachine } from "../data.ts";
import { gatewayMachine } from "../gateway.ts";
import { gatewayLinkMachine, type GatewayLinkSaid } from "../gateway_link.ts";
import { identityMachine, type IdentitySaid } from "../identity.ts";
import type { Ports } from "../ports.ts";
import { refusalLedgerMachine } from "../refusal_ledger.ts";
import type { RoleOutcome, TransportRef } from "../role.ts";
import { schedulerMachine } from "../scheduler.ts";
import { type TrustSaid, trustStoreMachine } from "../trust_store.ts";
import { workerMachine } from "../worker.ts";
import type { PeerNames } from "./peer_names.ts";

/** Key, certificate and trust are loaded within this, in milliseconds. */
export const loadMs = 30_000;
/** The transport listens within this, in milliseconds. */
export const listenMs = 30_000;
/** How often a node that can't join says what it waits for, in milliseconds. */
export const joiningReportMs = 10_000;
/** Counters are answered within this, in milliseconds. */
export const countersMs = 1_000;
/** The transport closes its connections within this, in milliseconds; the role has the rest of the drain's time. */
export const closeMs = 5_000;

/** What a node is born with. */
export interface NodeInput {
  readonly config: RoleConfig;
  readonly ports: Ports;
  /** What speaks for the node: `transportLogic`, or a simulated one. */
  readonly transport: CallbackActorLogic<TransportAsk, TransportInput>;
  /** From `makeGateFactory` (`gate.ts`). */
  readonly makeGate: MakeGate;
  /** Where refusals are recorded; `logAlone` keeps them in the log only. */
  readonly audit: AuditSink;
}

/** The node could not start, or could not go on. */
export class NodeFailed extends Data.TaggedError("NodeFailed")<{
  readonly stage: "load" | "listen" | "transport" | "role" | "internal";
  readonly detail: string;
  /** The typed error that led to it, such as `LoadError`. */
  readonly cause: unknown;
}> {
  override get message(): string {
    return this.cause instanceof Error ? this.cause.message : `Cannot go on (${this.stage}): ${this.detail}`;
  }
}

/** How a node ended: the machine's output. `failed` makes the program exit with a code other than 0. */
export type NodeExit =
  | { readonly type: "stopped"; readonly reason: string }
  | { readonly type: "failed"; readonly error: NodeFailed };

/** A node's state beside where it is. */
export interface NodeContext extends NodeInput {
  readonly names: PeerNames;
  /** The ports that children report through: every line about a peer carries its name. */
  readonly namedPorts: Ports;
  readonly snapshot: TrustSnapshot | undefined;
  readonly identity: NodeIdentity | undefined;
  readonly actor: ActorRefFrom<NodeInput["transport"]> | undefined;
  readonly ledger: ActorRefFrom<typeof refusalLedgerMachine>;
  /** Who is established now. */
  readonly peers: readonly PeerText[];
  /** Gateways that are linked now, by configured address. */
  readonly linked: readonly AddressText[];
  readonly isReachable: boolean;
  readonly isDhtReady: boolean;
  readonly isReady: boolean;
  readonly counters: TransportCounters | undefined;
  /** At which level a worker confines its executors: told to whoever probes. */
  readonly cell: string | undefined;
  readonly exit: NodeExit;
}

/** What a node hears from outside: that it is to end, and that its trust files are to be read again (SIGHUP). */
export type NodeCommand =
  | { readonly type: "drain"; readonly reason: string }
  | { readonly type: "trust.reload" };

/** All that a node hears. */
export type NodeEvent =
  | NodeCommand
  | TrustSaid
  | IdentitySaid
  | GatewayLinkSaid
  | TransportFact
  | StartAnswer
  | CountersAnswer
  | DrainAnswer
  | { readonly type: "role.over"; readonly outcome: RoleOutcome }
  | { readonly type: "role.cell"; readonly level: string };

/** The transport, once it was made. */
export function transportOf({ actor }: NodeContext): TransportRef {
  if (actor === undefined) throw new Error("Cannot use transport: it was not made");
  return actor;
}

/** What a joining node still lacks: a gateway, an address at which others reach it, its place in the DHT. */
export function lacking({ config, linked, isReachable, isDhtReady }: NodeContext): readonly string[] {
  if (config.role === "gateway" || config.gatewayAddresses.length === 0) return [];
  const lacks = {
    "a gateway": linked.length === 0,
    "an address that others reach": !isReachable && config.relayCircuit,
    "its place in the DHT": !isDhtReady,
  };
  return Object.entries(lacks).filter(([, isLacking]) => isLacking).map(([what]) => what);
}

/** Types, guards and children of the node's machine; actions are made from it. */
export const nodeSetup = setup({
  types: {
    input: {} as NodeInput,
    context: {} as NodeContext,
    events: {} as NodeEvent,
    output: {} as NodeExit,
  },
  actors: {
    trustStore: trustStoreMachine,
    identity: identityMachine,
    ledger: refusalLedgerMachine,
    gatewayLink: gatewayLinkMachine,
    gateway: gatewayMachine,
    scheduler: schedulerMachine,
    worker: workerMachine,
    data: dataMachine,
  },
  guards: {
    isLoaded: ({ context }) => context.snapshot !== undefined && context.identity !== undefined,
    isJoined: ({ context }) => lacking(context).length === 0,
    isUnstarted: ({ context }) => context.actor === undefined,
    isFailed: ({ context }) => context.exit.type === "failed",
  },
  delays: {
    loadMs,
    listenMs,
    joiningReportMs,
    countersMs,
    closeMs,
    drainMs: ({ context }) => context.config.drainTimeoutMs,
  },
});
